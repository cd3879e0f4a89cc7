// The data unit: between the data port and the buffers. IMAGE, LOAD, STORE.
#pragma once

#include "isa.h"
#include "types.h"

namespace hwgen {

// Iterations at II = 1, and bytes that pass the port in whole beats.
struct DataCost {
    Count iterations, read_bytes, written_bytes;
};

DataCost data_cost(const Instruction& f);

// `address`: of the first byte in the port's memory, a multiple of ALIGN.
void image(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, RowBuffer& y);
void load(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, XBuffer& x, NormTable& table,
          ActivationTable& activation);
void store(DataBeat* gmem1, std::uint64_t address, const Instruction& f, const XBuffer& x, const RowBuffer& y);

}  // namespace hwgen
