// The AVX-512 VNNI unit (vpdpbusd, vpdpwssd): Cascade Lake, Zen 4 and later.
#include "kernels/avx512/vnni.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_avx512vnni(KernelTable& table) { avx512::install_vnni(table); }

}  // namespace vsearch
