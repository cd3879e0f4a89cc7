// Integers of 1 to 64 bits for C-simulation with g++ alone: what Xilinx's ap_int.h computes, at the speed of native types.
// Vitis takes its own header, so only what the two have in common belongs into a kernel. Differences:
//   - a result of more than 64 bits does not compile: narrow the operands first;
//   - `range` and `[]` only read; a bit or a range out of bounds aborts;
//   - where Xilinx's simulation and arithmetic disagree, the operands that show it abort (`comparable`, `divisible`).
// Xilinx's simulation warns of `&=`, `|=` and `^=` with operands of different widths: cast the right one.
#pragma once

#include <cassert>
#include <cstdint>
#include <type_traits>

namespace hwgen {

template <int N, bool S>
struct Int;
template <int N>
using ap_int = Int<N, true>;
template <int N>
using ap_uint = Int<N, false>;

namespace detail {

template <bool S, class Signed, class Unsigned>
using Choose = std::conditional_t<S, Signed, Unsigned>;

// The smallest native integer of N bits, so that arrays are compact and loops over them vectorize.
template <int N, bool S>
using Storage = std::conditional_t<
    (N <= 8), Choose<S, int8_t, uint8_t>,
    std::conditional_t<(N <= 16), Choose<S, int16_t, uint16_t>,
                       std::conditional_t<(N <= 32), Choose<S, int32_t, uint32_t>, Choose<S, int64_t, uint64_t>>>>;

// Modular arithmetic: never narrower than `int`, to which the operands would be promoted with a sign.
template <int N>
using Modular = std::conditional_t<(N <= 32), uint32_t, uint64_t>;

constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

// Widths and signs that ap_int gives its results, for an N bit left and an M bit right operand.
template <int N, bool S, int M, bool R>
struct Widths {
    static constexpr int left = N + (R && !S), right = M + (S && !R), both = larger(left, right);
    using Product = Int<N + M, S || R>;
    using Sum = Int<both + 1, S || R>;
    using Difference = Int<both + 1, true>;
    using Quotient = Int<N + R, S || R>;
    using Remainder = Int<smaller(N, right), S>;
    using Logic = Int<both, S || R>;
};

// The Int that a native integer or an unscoped enumerator counts as.
template <class T, class = void>
struct Native;
template <class T>
struct Native<T, std::enable_if_t<std::is_integral_v<T>>> {
    using Type = Int<std::is_same_v<T, bool> ? 1 : 8 * int(sizeof(T)), std::is_signed_v<T>>;
};
template <class T>
struct Native<T, std::enable_if_t<std::is_enum_v<T> && std::is_convertible_v<T, int64_t>>> : Native<decltype(+T())> {};
template <class T>
using Of = typename Native<T>::Type;

// The value of `v` modulo 2^N, sign extended.
template <int N, bool S, class T>
constexpr Storage<N, S> wrap(T v) {
    using Unsigned = Storage<N, false>;
    constexpr int spare = 8 * int(sizeof(Unsigned)) - N;
    if constexpr (S)
        return Storage<N, S>(Storage<N, S>(Unsigned(Modular<N>(Unsigned(v)) << spare)) >> spare);
    else
        return Unsigned(Modular<N>(Unsigned(v)) & (Modular<N>(Unsigned(-1)) >> spare));
}

}  // namespace detail

template <int N, bool S>
struct Int {
    static_assert(1 <= N && N <= 64, "more than 64 bits: narrow the operands first");
    using Value = detail::Storage<N, S>;
    using Modular = detail::Modular<N>;
    static constexpr int width = N;

    // Always canonical: sign or zero extended to the storage, so operators on it need no masking. For this header only.
    Value V;

    Int() = default;
    template <int M, bool R>
    constexpr Int(Int<M, R> x) : V(narrow<M, R>(x.V)) {}
    template <class T, class I = detail::Of<T>>
    constexpr Int(T x) : V(narrow<I::width, std::is_signed_v<typename I::Value>>(x)) {}
    template <class T>
    static constexpr Int wrap(T v) {
        return canonical(detail::wrap<N, S>(v));
    }
    static constexpr Int canonical(Value v) {
        Int x{};
        x.V = v;
        return x;
    }

    constexpr operator detail::Choose<S, long long, unsigned long long>() const { return V; }
    constexpr bool to_bool() const { return V != 0; }
    constexpr int to_int() const { return int(V); }
    constexpr unsigned to_uint() const { return unsigned(V); }
    constexpr long long to_int64() const { return static_cast<long long>(V); }
    constexpr unsigned long long to_uint64() const { return static_cast<unsigned long long>(V); }
    constexpr int length() const { return N; }

    constexpr bool operator[](int bit) const {
        assert(0 <= bit && bit < N);
        return uint64_t(V) >> bit & 1;
    }
    constexpr ap_uint<N> range(int high, int low) const {
        assert(0 <= low && low <= high && high < N);
        return ap_uint<N>::canonical((uint64_t(V) >> low) & (~uint64_t(0) >> (63 - (high - low))));
    }

    constexpr Int operator+() const { return *this; }
    constexpr auto operator-() const { return ap_uint<1>(0) - *this; }
    constexpr Int operator~() const { return wrap(~Modular(V)); }
    constexpr bool operator!() const { return V == 0; }
    constexpr Int& operator++() { return *this = wrap(Modular(V) + 1); }
    constexpr Int& operator--() { return *this = wrap(Modular(V) - 1); }
    constexpr Int operator++(int) {
        const Int before = *this;
        ++*this;
        return before;
    }
    constexpr Int operator--(int) {
        const Int before = *this;
        --*this;
        return before;
    }

    // A shift keeps its left operand's type. As in ap_int a negative amount shifts the other way: in hardware two
    // shifters, so amounts should be unsigned.
    template <int M, bool R>
    constexpr Int operator<<(Int<M, R> n) const {
        if constexpr (R)
            return n.V < 0 ? right(-uint64_t(n.V)) : left(uint64_t(n.V));
        else
            return left(n.V);
    }
    template <int M, bool R>
    constexpr Int operator>>(Int<M, R> n) const {
        if constexpr (R)
            return n.V < 0 ? left(-uint64_t(n.V)) : right(uint64_t(n.V));
        else
            return right(n.V);
    }
    template <class T, class I = detail::Of<T>>
    constexpr Int operator<<(T n) const {
        return *this << I(n);
    }
    template <class T, class I = detail::Of<T>>
    constexpr Int operator>>(T n) const {
        return *this >> I(n);
    }
    template <class T>
    constexpr Int& operator<<=(T n) {
        return *this = *this << n;
    }
    template <class T>
    constexpr Int& operator>>=(T n) {
        return *this = *this >> n;
    }

private:
    template <int M, bool R, class T>
    static constexpr Value narrow(T v) {
        if constexpr (R == S ? M <= N : S && M < N)
            return Value(v);
        else
            return detail::wrap<N, S>(v);
    }
    constexpr Int left(uint64_t n) const { return n < N ? wrap(Modular(V) << n) : canonical(0); }
    constexpr Int right(uint64_t n) const {
        if constexpr (S)
            return canonical(Value(V >> (n < N ? n : N - 1)));
        else
            return canonical(n < N ? Value(V >> n) : 0);
    }
};

// An operator of an Int and a native integer, from the one of two Ints.
#define HWGEN_RIGHT(Op)                                          \
    template <int N, bool S, class T, class I = detail::Of<T>>   \
    constexpr auto operator Op(Int<N, S> a, T b) {               \
        return a Op I(b);                                        \
    }
#define HWGEN_LEFT(Op)                                           \
    template <class T, int N, bool S, class I = detail::Of<T>>   \
    constexpr auto operator Op(T a, Int<N, S> b) {               \
        return I(a) Op b;                                        \
    }
#define HWGEN_ASSIGNMENT(Op)                                     \
    template <int N, bool S, class T, class I = detail::Of<T>>   \
    constexpr Int<N, S>& operator Op(Int<N, S>& a, T b) {        \
        return a Op I(b);                                        \
    }

// The result's type holds every result, so it is computed there and nothing is cut; an assignment wraps.
#define HWGEN_ARITHMETIC(Op, Result)                                                                            \
    template <int N, bool S, int M, bool R>                                                                     \
    constexpr typename detail::Widths<N, S, M, R>::Result operator Op(Int<N, S> a, Int<M, R> b) {               \
        using Wide = typename detail::Widths<N, S, M, R>::Result;                                               \
        return Wide::canonical(typename Wide::Value(typename Wide::Value(a.V) Op typename Wide::Value(b.V)));   \
    }                                                                                                           \
    template <int N, bool S, int M, bool R>                                                                     \
    constexpr Int<N, S>& operator Op##=(Int<N, S>& a, Int<M, R> b) {                                            \
        using Modular = detail::Modular<N>;                                                                     \
        return a = Int<N, S>::wrap(Modular(a.V) Op Modular(b.V));                                               \
    }                                                                                                           \
    HWGEN_RIGHT(Op)                                                                                             \
    HWGEN_LEFT(Op)                                                                                              \
    HWGEN_ASSIGNMENT(Op##=)

HWGEN_ARITHMETIC(*, Product)
HWGEN_ARITHMETIC(+, Sum)
HWGEN_ARITHMETIC(-, Difference)
HWGEN_ARITHMETIC(&, Logic)
HWGEN_ARITHMETIC(|, Logic)
HWGEN_ARITHMETIC(^, Logic)

namespace detail {

template <int N, bool S>
constexpr bool negative(Int<N, S> x) {
    return S && x.V < 0;
}
template <int N, bool S, class Unsigned = Modular<N>>
constexpr Unsigned magnitude(Int<N, S> x) {
    return negative(x) ? -Unsigned(x.V) : Unsigned(x.V);
}
constexpr uint64_t negate(bool minus, uint64_t x) { return minus ? -x : x; }

// Xilinx's simulation divides as unsigned where the unsigned operand is the wider one, and takes every remainder of an
// unsigned dividend so.
template <int N, bool S, int M, bool R>
constexpr bool divisible(Int<N, S> a, Int<M, R> b, bool remainder) {
    const bool differs = S != R && (S ? M > N : N > M || remainder);
    return b.V != 0 && !(differs && (negative(a) || negative(b)));
}
template <int N, bool S, int M, bool R>
constexpr uint64_t quotient(Int<N, S> a, Int<M, R> b) {
    assert(divisible(a, b, false));
    return negate(negative(a) != negative(b), magnitude(a) / magnitude(b));
}
template <int N, bool S, int M, bool R>
constexpr uint64_t remainder(Int<N, S> a, Int<M, R> b) {
    assert(divisible(a, b, true));
    return negate(negative(a), magnitude(a) % magnitude(b));
}

// Xilinx compares as C does: from 32 bits on, a negative value with an unsigned one that is no narrower is taken as
// unsigned.
template <int N, bool S, int M, bool R>
constexpr bool comparable(Int<N, S> a, Int<M, R> b) {
    return S == R || (S ? M < N || M < 32 : N < M || N < 32) || !(negative(a) || negative(b));
}
template <int N, bool S, int M, bool R>
constexpr bool equal(Int<N, S> a, Int<M, R> b) {
    assert(comparable(a, b));
    return negative(a) == negative(b) && uint64_t(a.V) == uint64_t(b.V);
}
template <int N, bool S, int M, bool R>
constexpr bool less(Int<N, S> a, Int<M, R> b) {
    assert(comparable(a, b));
    constexpr int both = Widths<N, S, M, R>::both;
    if constexpr (both <= 64) {
        using Common = Storage<larger(both, 32), S || R>;
        return Common(a.V) < Common(b.V);
    } else {
        return negative(a) || (!negative(b) && uint64_t(a.V) < uint64_t(b.V));
    }
}

}  // namespace detail

// Xilinx cuts the quotient of a native dividend to the divisor's width: make the dividend an Int.
#define HWGEN_DIVISION(Op, Result, function)                                                        \
    template <int N, bool S, int M, bool R>                                                         \
    constexpr typename detail::Widths<N, S, M, R>::Result operator Op(Int<N, S> a, Int<M, R> b) {   \
        return detail::Widths<N, S, M, R>::Result::wrap(detail::function(a, b));                    \
    }                                                                                               \
    template <int N, bool S, int M, bool R>                                                         \
    constexpr Int<N, S>& operator Op##=(Int<N, S>& a, Int<M, R> b) {                                \
        return a = Int<N, S>::wrap(detail::function(a, b));                                         \
    }                                                                                               \
    template <class T, int N, bool S, class I = detail::Of<T>>                                      \
    constexpr auto operator Op(T, Int<N, S>) = delete;                                              \
    HWGEN_RIGHT(Op)                                                                                 \
    HWGEN_ASSIGNMENT(Op##=)

HWGEN_DIVISION(/, Quotient, quotient)
HWGEN_DIVISION(%, Remainder, remainder)

#define HWGEN_COMPARISON(Op, expression)                       \
    template <int N, bool S, int M, bool R>                    \
    constexpr bool operator Op(Int<N, S> a, Int<M, R> b) {     \
        return expression;                                     \
    }                                                          \
    HWGEN_RIGHT(Op)                                            \
    HWGEN_LEFT(Op)

HWGEN_COMPARISON(==, detail::equal(a, b))
HWGEN_COMPARISON(!=, !detail::equal(a, b))
HWGEN_COMPARISON(<, detail::less(a, b))
HWGEN_COMPARISON(>, detail::less(b, a))
HWGEN_COMPARISON(<=, !detail::less(b, a))
HWGEN_COMPARISON(>=, !detail::less(a, b))

#undef HWGEN_RIGHT
#undef HWGEN_LEFT
#undef HWGEN_ASSIGNMENT
#undef HWGEN_ARITHMETIC
#undef HWGEN_DIVISION
#undef HWGEN_COMPARISON

}  // namespace hwgen
