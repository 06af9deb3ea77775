// The AVX-512 VPOPCNTDQ unit (vpopcntq): Ice Lake, Zen 4 and later.
#include "kernels/table.hpp"

namespace vsearch {

void install_avx512popcnt(KernelTable&) {}

}  // namespace vsearch
