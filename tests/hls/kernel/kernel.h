#pragma once
#ifdef __SYNTHESIS__
#include <ap_int.h>
#include <hls_stream.h>
using hls::stream;
#else
#include <vector>
#include "integers.h"
#include "stream.h"
using namespace hwgen;
std::vector<double> v;
#endif
constexpr int LANES = 8;
