// Builds the kernel table at import: scalar first, then each unit this CPU supports lays its entries over it.

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/cpu.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kKernelCount = sizeof(KernelTable) / sizeof(void (*)());
using Pointers = std::array<void (*)(), kKernelCount>;

struct Unit {
    const char* name;
    const char* level;  // the VSEARCH_ISA value that unlocks it
    bool supported;
    void (*install)(KernelTable&);
};

std::vector<Unit> units() {
    const CpuFeatures& cpu = cpu_features();
    (void)cpu;
    return {
        {"scalar", "scalar", true, install_scalar},
#if defined(__x86_64__) || defined(_M_X64)
        {"avx2", "avx2", cpu.avx2, install_avx2},
        {"avx512", "avx512", cpu.avx512, install_avx512},
        {"avx512vnni", "avx512", cpu.avx512_vnni, install_avx512vnni},
        {"avx512popcnt", "avx512", cpu.avx512_vpopcntdq, install_avx512popcnt},
        {"avx512bf16", "avx512", cpu.avx512_bf16, install_avx512bf16},
#elif defined(__aarch64__)
        {"neon", "neon", cpu.neon, install_neon},
        {"neondot", "neon", cpu.neon_dotprod, install_neondot},
#endif
    };
}

// A table and where it is from.
struct State : KernelTable {
    std::string level;
    std::array<const char*, kKernelCount> origin{};
    const KernelTable* replaced = nullptr;  // keeps earlier states in sight of leak checkers
};

Pointers pointers(const KernelTable& table) {
    Pointers p;
    std::memcpy(p.data(), &table, sizeof(table));
    return p;
}

State* build(const std::string& level) {
    std::string offered;
    bool known = level == "best";
    for (const std::string& name : available_isas()) {
        offered += (offered.empty() ? "" : ", ") + name;
        known = known || name == level;
    }
    if (!known) throw std::invalid_argument("VSEARCH_ISA must be one of best, " + offered + " on this CPU; got '" + level + "'.");
    auto* state = new State;
    bool passed_level = false;
    for (const Unit& unit : units()) {
        const bool wanted = level == "best" || !passed_level || level == unit.level;
        if (level == unit.level) passed_level = true;
        if (!wanted || !unit.supported) continue;
        const Pointers before = pointers(*state);
        unit.install(*state);
        const Pointers after = pointers(*state);
        for (std::size_t i = 0; i < kKernelCount; ++i)
            if (before[i] != after[i]) state->origin[i] = unit.name;
        state->level = unit.level;
    }
    return state;
}

std::string level_from_environment() {
    const char* value = std::getenv("VSEARCH_ISA");
    return value != nullptr && *value != '\0' ? value : "best";
}

const State& state() { return static_cast<const State&>(kernels()); }

}  // namespace

// States are never freed: a search may still hold the table that use_isa() replaced.
std::atomic<const KernelTable*> kernels_in_use{nullptr};

const KernelTable& first_kernels() {
    const State* fresh = build(level_from_environment());
    const KernelTable* existing = nullptr;
    if (kernels_in_use.compare_exchange_strong(existing, fresh)) return *fresh;
    delete fresh;
    return *existing;
}

void use_isa(const std::string& level) {
    State* fresh = build(level);
    fresh->replaced = &kernels();
    while (!kernels_in_use.compare_exchange_weak(fresh->replaced, fresh)) {
    }
}

std::string current_isa() { return state().level; }

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Unit& unit : units())
        if (unit.supported && (names.empty() || names.back() != unit.level)) names.emplace_back(unit.level);
    return names;
}

std::vector<std::pair<std::string, std::string>> kernel_origins() {
    static const char* names[] = {
#define VSEARCH_NAME(name, type) #name,
        VSEARCH_KERNELS(VSEARCH_NAME)
#undef VSEARCH_NAME
    };
    std::vector<std::pair<std::string, std::string>> out;
    for (std::size_t i = 0; i < kKernelCount; ++i) out.emplace_back(names[i], state().origin[i] ? state().origin[i] : "missing");
    return out;
}

}  // namespace vsearch
