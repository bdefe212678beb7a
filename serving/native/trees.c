/* Scores trees: the state of every tested term, then the exit leaf of every tree. The method is in table.h. */
#include "trees.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif
#define LANES 8 /* trees walked at a time, to overlap their cache misses */

/* The state of a group for a row: how many cuts lie below its term, or which of its codes its column has. */
static inline uint32_t find_state(const hr_trees *trees, const hr_front *front, const hr_group *group,
                                  const double *values) {
    const hr_term *term = &front->terms[group->term];
    if (!group->coded) {
        double value = hr_term_value(term, values);
        if (isnan(value)) return group->n_cuts + 1;
        return hr_count_below(group->cuts, group->n_cuts, trees->single ? (double)(float)value : value);
    }
    double value = values[term->column];
    if (isnan(value)) value = (term->parts & HR_FILL) ? term->fill : value;
    if (isnan(value)) return group->n_cuts;
    uint32_t code = hr_count_below(group->cuts, group->n_cuts, value);
    return code < group->n_cuts && group->cuts[code] == value ? code : group->n_cuts;
}

static inline uint64_t load_bits(const unsigned char *bytes) {
    uint64_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return bits;
}

static inline uint32_t lowest_bit(uint64_t bits) {
#if defined(__GNUC__) || defined(__clang__)
    return (uint32_t)__builtin_ctzll(bits);
#else
    uint32_t bit = 0;
    while (!(bits >> bit & 1)) bit++;
    return bit;
#endif
}

/* The lowest reachable leaf; a tree's last leaf is never cleared unless another one is reachable, so there is one. */
static inline uint32_t exit_leaf(const unsigned char *bytes, uint32_t leaves) {
    uint64_t bits = load_bits(bytes);
    if (leaves <= 64) return lowest_bit(bits);
    if (leaves <= 128) {
        uint64_t more = load_bits(bytes + 8);
        uint32_t offset = bits ? 0 : 64;
        return offset + lowest_bit(bits ? bits : more);
    }
    uint32_t leaf = 0;
    while (!bits) {
        leaf += 64;
        bits = load_bits(bytes + leaf / 8);
    }
    return leaf + lowest_bit(bits);
}

#if defined(__GNUC__) || defined(__clang__)
typedef uint64_t line __attribute__((vector_size(64))); /* a cache line; the compiler splits it for narrower registers */
#else
#define line uint64_t
#endif

/* AND of n strings of whole blocks, two lines at a time. */
static ALWAYS_INLINE void intersect(uint64_t *bits, const uint64_t *const *masks, uint32_t n, uint32_t words) {
    const uint32_t step = sizeof(line) / sizeof(uint64_t);
    for (uint32_t start = 0; start < words; start += 2 * step) {
        line a, b, more_a, more_b;
        memcpy(&a, masks[0] + start, sizeof a);
        memcpy(&b, masks[0] + start + step, sizeof b);
        for (uint32_t g = 1; g < n; g++) {
            memcpy(&more_a, masks[g] + start, sizeof a);
            memcpy(&more_b, masks[g] + start + step, sizeof b);
            a &= more_a;
            b &= more_b;
        }
        memcpy(bits + start, &a, sizeof a);
        memcpy(bits + start + step, &b, sizeof b);
    }
}

/* How many of the lowest bits are among the ones: every leaf is a vote for one of two classes, so no sum can round, and
 * neither values nor their order matter. The words lie as align_leaves (grow.c) has put them. */
static ALWAYS_INLINE uint64_t count_votes(const uint64_t *bits, const uint64_t *ones, uint32_t n_short, uint32_t n_long) {
    const uint64_t *low = bits + n_short, *high = low + n_long, *of_low = ones + n_short, *of_high = of_low + n_long;
    uint64_t votes = 0;
    for (uint32_t i = 0; i < n_short; i++) votes += (bits[i] & (0 - bits[i]) & ones[i]) != 0;
    for (uint32_t i = 0; i < n_long; i++) {
        uint64_t here = low[i] & (0 - low[i]) & of_low[i], there = high[i] & (0 - high[i]) & of_high[i];
        votes += (low[i] ? here : there) != 0;
    }
    return votes;
}

/* Both again for processors with wider registers: the same integers, several at a time. */
#define FOR_PROCESSOR(name, attribute)                                                                                 \
    attribute static void intersect_##name(uint64_t *restrict bits, const uint64_t *const *masks, uint32_t n,          \
                                           uint32_t words) {                                                           \
        intersect(bits, masks, n, words);                                                                              \
    }                                                                                                                  \
    attribute static uint64_t count_votes_##name(const uint64_t *bits, const uint64_t *ones, uint32_t n_short,         \
                                                 uint32_t n_long) {                                                    \
        return count_votes(bits, ones, n_short, n_long);                                                               \
    }

FOR_PROCESSOR(any, )
#if defined(__x86_64__) && defined(__GNUC__)
FOR_PROCESSOR(avx2, __attribute__((target("avx2"))))
FOR_PROCESSOR(avx512, __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))))
#define CHOOSE(function)                                                                                               \
    (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? function##_avx512                      \
     : __builtin_cpu_supports("avx2")                                         ? function##_avx2                        \
                                                                              : function##_any)
#else
#define CHOOSE(function) function##_any
#endif

static void add_leaf(const hr_trees *trees, uint32_t t, uint32_t leaf, double *raw) {
    const double *value = trees->values + trees->first[t] + (size_t)leaf * trees->leaf;
    if (trees->leaf == 1) {
        raw[trees->output[t]] += *value;
    } else {
        for (uint32_t k = 0; k < trees->leaf; k++) raw[k] += value[k];
    }
}

static void sum_pairs(const hr_trees *trees, const unsigned char *bytes, double *raw) {
    double first = 0.0, second = 0.0;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        const double *value = trees->values + trees->first[t] + 2 * (size_t)exit_leaf(bytes + trees->start[t], trees->leaves[t]);
        first += value[0];
        second += value[1];
    }
    raw[0] = first;
    raw[1] = second;
}

static const uint64_t *joint_masks(const hr_model *model, const hr_joint *joint, const double *values) {
    const hr_group *group = &model->trees.groups[joint->first];
    size_t state = 0;
    for (uint32_t i = 0; i < joint->n; i++, group++) {
        state = state * hr_states_of(group) + find_state(&model->trees, &model->front, group, values);
    }
    return joint->masks + state * model->trees.words;
}

static void sum_masked(const hr_model *model, const double *values, double *raw, char *scratch) {
    const hr_trees *trees = &model->trees;
    const uint64_t **masks = (const uint64_t **)(scratch + trees->chosen);
    uint64_t *bits = (uint64_t *)(scratch + trees->bits);
    for (uint32_t i = 0; i < trees->n_joints; i++) masks[i] = joint_masks(model, &trees->joints[i], values);
    if (trees->n_joints) {
        CHOOSE(intersect)(bits, masks, trees->n_joints, trees->words);
    } else { /* no tree has a split */
        memset(bits, 0xff, trees->words * sizeof *bits);
    }
    const unsigned char *bytes = (const unsigned char *)bits;
    if (trees->ones) {
        uint32_t n_long = trees->n_trees - trees->n_short;
        raw[1] = (double)CHOOSE(count_votes)(bits, trees->ones, trees->n_short, n_long);
        raw[0] = trees->n_trees - raw[1];
        return;
    }
    if (trees->leaf == 2) {
        sum_pairs(trees, bytes, raw);
        return;
    }
    for (uint32_t t = 0; t < trees->n_trees; t++) add_leaf(trees, t, exit_leaf(bytes + trees->start[t], trees->leaves[t]), raw);
}

static void fill_ranks(const hr_model *model, const double *values, uint32_t *ranks) {
    const hr_trees *trees = &model->trees;
    ranks[0] = UINT32_MAX; /* leaves: above every number, so they stay where they are */
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        const hr_group *group = &trees->groups[g];
        uint32_t state = find_state(trees, &model->front, group, values), *entry = ranks + group->base;
        if (group->coded) {
            for (uint32_t i = 0; i < group->n_cuts; i++) entry[i] = 1 + (i == state);
        } else {
            entry[0] = state > group->n_cuts ? 0 : state;
            entry[1] = state > group->n_cuts ? UINT32_MAX : state;
        }
    }
}

static void walk(const hr_model *model, const double *values, double *raw, char *scratch) {
    const hr_trees *trees = &model->trees;
    const hr_node *nodes = trees->nodes;
    uint32_t *ranks = (uint32_t *)(scratch + trees->ranks), at[LANES];
    fill_ranks(model, values, ranks);
    for (uint32_t t = 0; t < trees->n_trees; t += LANES) {
        uint32_t n = trees->n_trees - t < LANES ? trees->n_trees - t : LANES, moved = 1;
        for (uint32_t i = 0; i < LANES; i++) at[i] = trees->start[i < n ? t + i : t];
        while (moved) {
            moved = 0;
            for (uint32_t i = 0; i < LANES; i++) {
                hr_node node = nodes[at[i]];
                uint32_t right = ranks[node.key >> HR_RANK_BITS] > (node.key & (HR_MAX_RANK + 1));
                uint32_t next = right ? node.right : at[i] + 1;
                moved |= next ^ at[i];
                at[i] = next;
            }
        }
        for (uint32_t i = 0; i < n; i++) add_leaf(trees, t + i, nodes[at[i]].key, raw);
    }
}

void hr_sum_trees(const hr_model *model, const double *values, double *raw, char *scratch) {
    for (uint32_t k = 0; k < model->raw; k++) raw[k] = 0.0;
    if (model->trees.nodes) {
        walk(model, values, raw, scratch);
    } else {
        sum_masked(model, values, raw, scratch);
    }
    for (uint32_t k = 0; k < model->raw; k++) raw[k] /= model->trees.divisor;
}
