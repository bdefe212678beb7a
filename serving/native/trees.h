/* What the two files about trees share. */
#ifndef HEADRACE_TREES_H
#define HEADRACE_TREES_H

#include "table.h"

#define HR_BLOCK 16 /* words: bit strings are whole blocks, on cache lines of their own */
#define HR_RANK_BITS 20
#define HR_MAX_RANK ((1u << HR_RANK_BITS) - 2)
#define HR_MAX_RANKS (1u << (32 - HR_RANK_BITS))

/* The number of cuts below x: a branch-free binary search. */
static inline uint32_t hr_count_below(const double *cuts, uint32_t n, double x) {
    const double *base = cuts;
    while (n > 1) {
        uint32_t half = n >> 1;
        base += base[half - 1] < x ? half : 0;
        n -= half;
    }
    return (uint32_t)(base - cuts) + (n == 1 && *base < x);
}

static inline uint32_t hr_states_of(const hr_group *group) { return group->n_cuts + (group->coded ? 1 : 2); }

#endif
