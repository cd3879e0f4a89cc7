// hls::stream for C-simulation: the processes of a dataflow region run one after another there, so it never fills up.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

namespace hwgen {

// What Vitis only warns of aborts here: a read of an empty stream hangs the hardware, and so does the next run after a
// leftover.
template <class T>
class stream {
public:
    explicit stream(const char* name = "stream") : name_(name) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream() {
        if (count_ && !std::uncaught_exceptions()) fail("destroyed with data left in it");
    }

    bool empty() const { return count_ == 0; }
    std::size_t size() const { return count_; }

    void write(const T& value) {
        if (count_ == ring_.size()) grow();
        ring_[(head_ + count_++) & (ring_.size() - 1)] = value;
    }
    T read() {
        if (empty()) fail("read when empty");
        const T value = ring_[head_];
        head_ = (head_ + 1) & (ring_.size() - 1);
        count_--;
        return value;
    }

private:
    [[noreturn]] void fail(const char* what) const {
        std::fprintf(stderr, "%s: %s (%zu)\n", name_, what, count_);
        std::abort();
    }
    // A power of two, so that positions wrap by masking.
    void grow() {
        std::vector<T> larger(ring_.empty() ? 16 : 2 * ring_.size());
        for (std::size_t i = 0; i < count_; i++) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
        ring_.swap(larger);
        head_ = 0;
    }

    const char* name_;
    std::vector<T> ring_;
    std::size_t head_ = 0, count_ = 0;
};

}  // namespace hwgen
