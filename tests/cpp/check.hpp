// The smallest test runner that will do: TEST(name) registers, CHECK(condition) reports where and goes on.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace vsearch::test {

struct Case {
    const char* name;
    void (*run)();
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

struct Registered {
    Registered(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void fail(const char* condition, const char* file, int line, const std::string& detail = {}) {
    // One broken kernel breaks every size: a few lines say it, a thousand hide it.
    if (++failures() <= 20) std::printf("%s:%d: CHECK(%s) %s\n", file, line, condition, detail.c_str());
}

}  // namespace vsearch::test

#define TEST(name)                                                                  \
    static void test_##name();                                                      \
    static const ::vsearch::test::Registered registered_##name(#name, test_##name); \
    static void test_##name()

// CHECK_AT builds its detail, a std::string, only when the condition fails.
#define CHECK_AT(condition, detail) \
    ((condition) ? static_cast<void>(0) : ::vsearch::test::fail(#condition, __FILE__, __LINE__, (detail)))
#define CHECK(condition) CHECK_AT(condition, std::string())
