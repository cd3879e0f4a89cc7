// Stand-in of Xilinx's header for the lint: what kernels call of a stream, without a queue.
#pragma once

namespace hls {

template <class T, int Depth = 0>
class stream {
public:
    stream() = default;
    explicit stream(const char*) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    bool empty() const { return false; }
    unsigned size() const { return 0; }
    T read() { return value; }
    void write(const T&) {}

private:
    T value;
};

}  // namespace hls
