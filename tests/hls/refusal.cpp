// Reads the arguments of runs, a line each, and says why each must not start: the code of hwgen::refusal.
#include <iostream>

#include "check.h"

int main() {
    using namespace hwgen;
    std::uint64_t v[13];
    for (;;) {
        for (auto& value : v)
            if (!(std::cin >> value)) return 0;
        Arguments a{v[0], {v[1]}, v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12]};
        for (int port = 1; port < WEIGHT_PORTS; port++) std::cin >> a.weights_base[port];
        std::cout << int(refusal(a)) << '\n';
    }
}
