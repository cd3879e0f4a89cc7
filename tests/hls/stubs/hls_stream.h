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
    bool empty() const;
    bool full() const;
    unsigned size() const;
    T read();
    void read(T& value);
    bool read_nb(T& value);
    void write(const T& value);
    bool write_nb(const T& value);
};

}  // namespace hls
