// The AVX-512 BF16 unit (vdpbf16ps): Cooper Lake, Zen 4 and later.
#include "kernels/avx512/bf16.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_avx512bf16(KernelTable& table) { avx512::install_bf16(table); }

}  // namespace vsearch
