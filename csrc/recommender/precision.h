// Linear maps with narrower numbers: what they are, and whether this processor has them.
//
// Only the products are narrow. Sums, biases, residuals, norms and attention stay float32.
#pragma once

#include <string>
#include <vector>

#include "recommender/layer_kernels.h"

namespace mmgrec {

struct Precision {
  std::string name;   // "fp32", "bf16" or "int8"
  std::string means;  // the instructions, such as "amx"
  LinearKernels linear;
};

// What runs here, fp32 with the given instruction set first.
std::vector<Precision> runnable_precisions(const LinearKernels& fp32);

// The named one. Throws std::invalid_argument with the names there are, or with what this processor
// lacks.
Precision precision_named(const std::string& name, const LinearKernels& fp32);

// bf16: both factors rounded to bfloat16, products and sums in float32.
extern const LinearKernels bf16_amx;
// int8: weights by column, rows as they come; both scaled to their largest number.
extern const LinearKernels int8_vnni;

}  // namespace mmgrec
