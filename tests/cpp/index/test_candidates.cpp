// The candidates of a walk against sorted copies of what was put in, and the visited bits against a set.
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "check.hpp"
#include "index/candidate_pool.hpp"
#include "kernels/tables.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

using Waiting = std::pair<float, std::uint32_t>;

void put(CandidatePool& pool, std::vector<Waiting>& model, float distance, std::uint32_t slot) {
    pool.reserve(1);
    pool.put(distance, slot);
    model.emplace_back(distance, slot);
}

// Takes all candidates out.
std::vector<Waiting> drained(CandidatePool& pool) {
    std::vector<Waiting> out;
    float distance = 0;
    for (std::uint32_t slot; (slot = pool.nearest(&distance)) != CandidatePool::kNone; pool.take()) out.emplace_back(distance, slot);
    return out;
}

}  // namespace

TEST(candidates_come_out_nearest_first) {
    CandidatePool pool;
    for (int round = 0; round < 60; ++round) {
        pool.reset();
        std::vector<Waiting> model;
        std::size_t puts = 0;
        float distance = 0;
        CHECK(pool.size() == 0 && pool.nearest(&distance) == CandidatePool::kNone);
        for (int i = random_int(1, 900); i > 0; --i) {
            if (random_int(0, 2) != 0 || model.empty()) {
                // Some of the distances are negative, as estimates may be.
                put(pool, model, random_float() * 3 + 2, static_cast<std::uint32_t>(random_int(0, 1 << 30)));
                ++puts;
                continue;
            }
            const auto first = std::min_element(model.begin(), model.end());
            const std::uint32_t slot = pool.nearest(&distance);
            CHECK_AT(distance == first->first && slot == first->second, at("nearest", model.size()));
            CHECK_AT(pool.nearest(&distance) == slot, at("twice", model.size()));  // it stays until it is taken
            pool.take();
            model.erase(first);
        }
        CHECK_AT(pool.size() == puts, at("size", pool.size(), puts));  // those taken stay until all are, or it is tidied
        std::sort(model.begin(), model.end());
        CHECK(drained(pool) == model);
    }
}

// A vertex that was estimated several times comes out once, as near as it was ever estimated.
TEST(candidates_put_several_times_come_out_once) {
    CandidatePool pool;
    for (int round = 0; round < 60; ++round) {
        pool.reset();
        std::vector<Waiting> model;
        const int slots = random_int(1, 200);
        std::set<std::uint32_t> taken;
        for (int i = random_int(1, 900); i > 0; --i) {
            const auto slot = static_cast<std::uint32_t>(random_int(0, slots));
            if (taken.count(slot) == 0) put(pool, model, random_float(), slot);
            if (i % 5 != 0 || model.empty()) continue;
            float distance = 0;
            const auto first = *std::min_element(model.begin(), model.end());
            CHECK_AT(pool.nearest(&distance) == first.second && distance == first.first, at("nearest", model.size()));
            pool.take();
            taken.insert(first.second);
            model.erase(std::remove_if(model.begin(), model.end(), [&](const Waiting& w) { return w.second == first.second; }), model.end());
        }
        for (const Waiting& candidate : drained(pool)) {
            CHECK_AT(candidate == *std::min_element(model.begin(), model.end()), at("left", model.size()));
            model.erase(std::remove_if(model.begin(), model.end(), [&](const Waiting& w) { return w.second == candidate.second; }), model.end());
        }
        CHECK(model.empty());
    }
}

TEST(candidates_at_one_distance_all_come_out) {
    CandidatePool pool;
    pool.reset();
    std::vector<Waiting> model;
    for (std::uint32_t slot = 0; slot < 300; ++slot) put(pool, model, 1.5f, slot);
    auto out = drained(pool);
    std::sort(out.begin(), out.end());
    CHECK(out == model);
}

// What is forgotten is beyond the limit, or behind more candidates than there are turns for.
TEST(candidates_that_may_have_their_turn_are_kept) {
    CandidatePool pool;
    for (int round = 0; round < 300; ++round) {
        pool.reset();
        std::vector<Waiting> model;
        const auto turns = static_cast<std::size_t>(random_int(0, 120));
        const float limit = random_int(0, 3) == 0 ? std::numeric_limits<float>::infinity() : 1 + random_float();
        for (int i = random_int(0, 1500); i > 0; --i) put(pool, model, random_float() + 1, static_cast<std::uint32_t>(model.size()));
        pool.tidy(limit, turns);
        std::sort(model.begin(), model.end());
        const auto below = static_cast<std::size_t>(std::lower_bound(model.begin(), model.end(), Waiting{limit, 0}) - model.begin());
        const auto kept = drained(pool);
        CHECK_AT(kept.size() >= std::min(2 * turns, below), at("kept", kept.size(), turns));
        CHECK_AT(std::equal(kept.begin(), kept.end(), model.begin()), at("the nearest", kept.size(), turns));
    }
}

// Of many at one distance some are forgotten, not all.
TEST(candidates_at_one_distance_are_not_all_forgotten) {
    CandidatePool pool;
    for (const std::size_t turns : {std::size_t{0}, std::size_t{3}, std::size_t{40}}) {
        pool.reset();
        std::vector<Waiting> model;
        for (std::uint32_t i = 0; i < 1000; ++i) put(pool, model, i % 10 == 0 ? 1.0f : 2.0f, i);
        pool.tidy(3.0f, turns);
        const auto kept = drained(pool);
        CHECK_AT(kept.size() >= std::max<std::size_t>(1, 2 * turns) && kept.size() < 1000, at("kept", kept.size(), turns));
        CHECK_AT(kept[0].first == 1.0f, at("nearest", turns));
    }
}

TEST(candidates_do_not_pile_up) {
    CandidatePool pool;
    pool.reset();
    std::vector<Waiting> model;
    for (int i = 0; i < 20000; ++i) {
        put(pool, model, random_float(), static_cast<std::uint32_t>(i));
        if (i % 32 == 31) pool.tidy(std::numeric_limits<float>::infinity(), 50);
    }
    CHECK_AT(pool.size() < 1000, std::to_string(pool.size()));
}

TEST(visited_slots_are_those_inserted_since_the_reset) {
    VisitedSet visited;
    for (const int n : {70, 1, 64, 65, 1000, 10, 5000, 63}) {
        visited.reset(static_cast<std::size_t>(n));
        std::set<std::uint32_t> model;
        for (int i = 0; i < n; ++i) CHECK_AT(!visited.contains(static_cast<std::uint32_t>(i)), at("cleared", static_cast<std::size_t>(i)));
        for (int i = random_int(0, n); i > 0; --i) {
            const auto slot = static_cast<std::uint32_t>(random_int(0, n - 1));
            visited.insert(slot);
            model.insert(slot);
        }
        for (int i = 0; i < n; ++i) {
            const auto slot = static_cast<std::uint32_t>(i);
            CHECK_AT(visited.contains(slot) == (model.count(slot) == 1), at("inserted", slot, static_cast<std::size_t>(n)));
        }
    }
}
