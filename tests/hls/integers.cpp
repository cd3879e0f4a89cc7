// Every operator over many types and values, a checksum a line: compiled with our integers and with Xilinx's, the same.
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#ifdef XILINX
#include <ap_int.h>
#else
#include "integers.h"
using namespace hwgen;
#endif

template <int N, bool S>
struct Bits {
    static constexpr int width = N;
    static constexpr bool sign = S;
    using Type = std::conditional_t<S, ap_int<N>, ap_uint<N>>;
};
template <class T>
struct Native {
    static constexpr int width = std::is_same_v<T, bool> ? 1 : 8 * sizeof(T);
    static constexpr bool sign = std::is_signed_v<T>;
    using Type = T;
};

// Extremes of the width and their neighbours, then random values of any length.
std::vector<int64_t> values(int width, bool sign) {
    const uint64_t top = uint64_t(1) << (width - 1);
    std::vector<uint64_t> patterns = {0, 1, 2, top - 1, top, top + 1, ~uint64_t(0), ~uint64_t(1)};
    uint64_t state = 88172645463325252u + 2 * width + sign;
    for (int i = 0; i < 10; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        patterns.push_back(state >> (i * 17 % width));
    }
    std::vector<int64_t> out;
    const int spare = 64 - width;
    for (uint64_t x : patterns) out.push_back(sign ? int64_t(x << spare) >> spare : int64_t(x << spare >> spare));
    return out;
}

// A checksum for each operator, with the type of its result.
struct Sums {
    std::map<std::string, uint64_t> hashes;
    void add(const std::string& name, int64_t value) {
        uint64_t& hash = hashes[name];
        hash = ((hash ^ uint64_t(value)) + 1) * 1099511628211u, hash ^= hash >> 29;
    }
    template <class R>
    void result(const char* name, R value) {
        constexpr bool sign = std::is_same_v<R, ap_int<R::width>>;
        add(name + std::string(sign ? " i" : " u") + std::to_string(R::width), value.to_int64());
    }
    void print(int width, bool sign, int right, bool right_sign) const {
        for (const auto& [name, hash] : hashes)
            std::printf("%c%d %c%d %s: %016llx\n", "ui"[sign], width, "ui"[right_sign], right, name.c_str(),
                        static_cast<unsigned long long>(hash));
    }
};

// What the two headers are not asked to agree on: divisors of zero, and negative values that Xilinx takes as unsigned.
template <class A, class B>
bool divisible(int64_t a, int64_t b, bool remainder) {
    if (b == 0) return false;
    if (A::sign && !B::sign) return a >= 0 || B::width <= A::width;
    if (!A::sign && B::sign) return b >= 0 || (!remainder && A::width <= B::width);
    return true;
}
template <class A, class B>
bool comparable(int64_t a, int64_t b) {
    if (A::sign && !B::sign) return a >= 0 || B::width < A::width || B::width < 32;
    if (!A::sign && B::sign) return b >= 0 || A::width < B::width || A::width < 32;
    return true;
}

#define OPERATOR(Op, bits, allowed) \
    if constexpr ((bits) <= 64)     \
        if (allowed) sums.result(#Op, a Op b);
#define COMPARISON(Op) sums.add("compare", a Op b);
#define ASSIGNMENT(Op, allowed) \
    if (allowed) {              \
        TypeA c = a;            \
        c Op b;                 \
        sums.result(#Op, c);    \
    }

template <class A, class B>
void pair() {
    using TypeA = typename A::Type;
    using TypeB = typename B::Type;
    constexpr int left = A::width + (B::sign && !A::sign), right = B::width + (A::sign && !B::sign);
    constexpr int both = left > right ? left : right;
    constexpr bool native = std::is_integral_v<TypeA>;
    Sums sums;
    for (int64_t x : values(A::width, A::sign))
        for (int64_t y : values(B::width, B::sign)) {
            const TypeA a = x;
            const TypeB b = y;
            const bool quotient = divisible<A, B>(x, y, false), remainder = divisible<A, B>(x, y, true);
            const bool shift = B::sign || B::width < 64 ? -80 < y && y < 200 : uint64_t(y) < 200;
            OPERATOR(*, A::width + B::width, true)
            OPERATOR(+, both + 1, true)
            OPERATOR(-, both + 1, true)
            OPERATOR(&, both, true)
            OPERATOR(|, both, true)
            OPERATOR(^, both, true)
            if (comparable<A, B>(x, y)) {
                COMPARISON(==) COMPARISON(!=) COMPARISON(<) COMPARISON(>) COMPARISON(<=) COMPARISON(>=)
            }
            if constexpr (!native) {
                OPERATOR(/, A::width + B::sign, quotient)
                OPERATOR(%, A::width, remainder)
                OPERATOR(<<, A::width, shift)
                OPERATOR(>>, A::width, shift)
                ASSIGNMENT(=, true) ASSIGNMENT(+=, true) ASSIGNMENT(-=, true) ASSIGNMENT(*=, true)
                ASSIGNMENT(/=, quotient) ASSIGNMENT(%=, remainder)
                ASSIGNMENT(&=, true) ASSIGNMENT(|=, true) ASSIGNMENT(^=, true)
                ASSIGNMENT(<<=, shift) ASSIGNMENT(>>=, shift)
            }
        }
    sums.print(A::width, A::sign, B::width, B::sign);
}

template <class A>
void alone() {
    using Type = typename A::Type;
    Sums sums;
    for (int64_t value : values(A::width, A::sign)) {
        Type x(value);
        const Type y = x;
        for (int bit = 0; bit < A::width; bit++) sums.add("bit", y[bit]), sums.add("bit", bool(x[bit]));
        for (int high = 0; high < A::width; high += 3)
            for (int low = 0; low <= high; low += 2) {
                sums.result("range", ap_uint<64>(y.range(high, low)));
                sums.result("range", ap_int<7>(y.range(high, low)));
            }
        sums.result("~", ~x), sums.result("+", +x), sums.add("!", !x), sums.add("?", x ? 1 : 2);
        if constexpr (A::width < 64) sums.result("-", -x);
        for (int i = 0; i < 4; i++) {
            sums.result("x++", Type(x++)), sums.result("x--", Type(x--));
            sums.result("++x", Type(++x)), sums.result("--x", Type(--x)), ++x;
        }
        sums.add("to", y.to_bool()), sums.add("to", y.to_int()), sums.add("to", y.to_uint());
        sums.add("to", y.to_int64()), sums.add("to", y.to_uint64()), sums.add("to", y.length());
        sums.add("cast", y), sums.add("cast", int8_t(y)), sums.add("cast", uint16_t(y)), sums.add("cast", int(y));
        sums.result("u5", ap_uint<5>(y)), sums.result("i32", ap_int<32>(y)), sums.result("i33", ap_int<33>(y));
        sums.result("u64", ap_uint<64>(y)), sums.result("i64", ap_int<64>(y));
        switch (y) {
            case 0: sums.add("switch", 3); break;
            case 1: sums.add("switch", 4); break;
            default: sums.add("switch", 5);
        }
    }
    sums.print(A::width, A::sign, A::width, A::sign);
}

constexpr int WIDTHS[] = {1, 2, 7, 8, 9, 13, 16, 17, 18, 24, 27, 31, 32, 33, 45, 48, 63, 64};
constexpr int COUNT = 2 * sizeof WIDTHS / sizeof *WIDTHS;
template <int I>
using Type = Bits<WIDTHS[I % COUNT / 2], I % 2 == 1>;

// Each type alone and with the other sign, the next width or another size: compiling Xilinx's header is slow.
template <int... I>
void all(std::integer_sequence<int, I...>) {
    (alone<Type<I>>(), ...);
    (pair<Type<I>, Type<(I % 3 == 0 ? I ^ 1 : I % 3 == 1 ? I + 2 : 7 * I + 11)>>(), ...);
}
template <int... I>
void far(std::integer_sequence<int, I...>) {
    (pair<Type<(10 * I + 14)>, Type<2 * I + I / 9>>(), ...);
}
template <class A, class... T>
void natives() {
    (pair<A, Native<T>>(), ...);
    (pair<Native<T>, A>(), ...);
}

int main() {
    all(std::make_integer_sequence<int, COUNT>());
    far(std::make_integer_sequence<int, COUNT / 2>());
    natives<Bits<8, true>, signed char, unsigned short, int, unsigned long>();
    natives<Bits<13, false>, bool, unsigned char, unsigned, long long>();
    natives<Bits<32, false>, char, int>();
    natives<Bits<31, true>, short, unsigned, unsigned long long>();
}
