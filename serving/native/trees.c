/* Scores trees: the state of every tested term, then the exit leaf of every tree. The method is in table.h. */
#include "trees.h"

#include <math.h>
#include <string.h>

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

/* AND of n strings into bits, four at a time: fewer passes over `bits`, whose own content counts unless `fresh`. */
static void intersect(uint64_t *restrict bits, const uint64_t *const *masks, uint32_t n, uint32_t words, int fresh) {
    uint32_t g = 0;
    if (fresh && n >= 4) {
        const uint64_t *a = masks[0], *b = masks[1], *c = masks[2], *d = masks[3];
        for (uint32_t w = 0; w < words; w++) bits[w] = a[w] & b[w] & c[w] & d[w];
        g = 4;
    } else if (fresh) {
        memset(bits, 0xff, words * sizeof *bits);
    }
    for (; g + 4 <= n; g += 4) {
        const uint64_t *a = masks[g], *b = masks[g + 1], *c = masks[g + 2], *d = masks[g + 3];
        for (uint32_t w = 0; w < words; w++) bits[w] &= a[w] & b[w] & c[w] & d[w];
    }
    for (; g < n; g++) {
        const uint64_t *a = masks[g];
        for (uint32_t w = 0; w < words; w++) bits[w] &= a[w];
    }
}

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

/* Every leaf is a vote for one of two classes: no sum can round, so neither values nor their order matter. */
static void count_votes(const hr_trees *trees, const unsigned char *bytes, double *raw) {
    const unsigned char *ones = (const unsigned char *)trees->ones;
    uint32_t votes = 0;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        uint32_t start = trees->start[t];
        uint64_t bits = load_bits(bytes + start), more = load_bits(bytes + start + 8);
        uint32_t here = (bits & (0 - bits) & load_bits(ones + start)) != 0;
        uint32_t there = (more & (0 - more) & load_bits(ones + start + 8)) != 0;
        votes += bits ? here : there;
    }
    raw[0] = trees->n_trees - votes;
    raw[1] = votes;
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
    const uint64_t *masks[64];
    uint64_t *bits = (uint64_t *)(scratch + trees->bits);
    if (trees->n_joints == 0) memset(bits, 0xff, trees->words * sizeof *bits);
    for (uint32_t done = 0; done < trees->n_joints; done += 64) {
        uint32_t n = trees->n_joints - done < 64 ? trees->n_joints - done : 64;
        for (uint32_t i = 0; i < n; i++) masks[i] = joint_masks(model, &trees->joints[done + i], values);
        intersect(bits, masks, n, trees->words, done == 0);
    }
    const unsigned char *bytes = (const unsigned char *)bits;
    if (trees->ones) {
        count_votes(trees, bytes, raw);
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
