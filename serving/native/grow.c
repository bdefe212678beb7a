/* Makes trees fast: states of the tested terms, bit strings over all leaves, or packed nodes. The method is in table.h. */
#include "trees.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JOINT_STATES 512
#define JOINT_BYTES ((size_t)2 << 20)

static int compare_numbers(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int same_source(const hr_term *a, const hr_term *b) {
    if (!(a->parts & HR_CODE) || !(b->parts & HR_CODE) || a->column != b->column) return 0;
    return (a->parts & HR_FILL) == (b->parts & HR_FILL) && (!(a->parts & HR_FILL) || a->fill == b->fill);
}

/* Put every tested term into a group: codes of one column together, any other term alone. */
static int group_terms(hr_table *table, hr_trees *trees, const hr_front *front, const uint32_t *tests, uint32_t *group_of) {
    trees->groups = hr_allocate(table, front->n_terms, sizeof *trees->groups);
    if (!trees->groups) return -1;
    for (uint32_t term = 0; term < front->n_terms; term++) {
        if (tests[term] == 0) continue;
        uint32_t g = 0;
        while (g < trees->n_groups && !same_source(&front->terms[trees->groups[g].term], &front->terms[term])) g++;
        if (g == trees->n_groups) {
            trees->groups[g].term = term;
            trees->groups[g].coded = (front->terms[term].parts & HR_CODE) != 0;
            trees->n_groups++;
        }
        trees->groups[g].n_cuts += trees->groups[g].coded ? 1 : tests[term];
        group_of[term] = g;
    }
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        trees->groups[g].cuts = hr_allocate(table, trees->groups[g].n_cuts, sizeof(double));
        if (!trees->groups[g].cuts) return -1;
        trees->groups[g].n_cuts = 0;
    }
    return 0;
}

/* Sorted, distinct cuts of every group: its thresholds, or its codes. */
static void sort_cuts(hr_trees *trees, const hr_front *front, const uint32_t *tests, const uint32_t *group_of) {
    for (uint32_t term = 0; term < front->n_terms; term++) {
        hr_group *group = tests[term] ? &trees->groups[group_of[term]] : NULL;
        if (group && group->coded) group->cuts[group->n_cuts++] = front->terms[term].code;
    }
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        const hr_tree *tree = &trees->trees[t];
        for (uint32_t i = 0; i < tree->nodes; i++) {
            if (tree->test[i] == HR_LEAF) continue;
            hr_group *group = &trees->groups[group_of[tree->test[i] & ~HR_MISSING_LEFT]];
            if (!group->coded) group->cuts[group->n_cuts++] = tree->threshold[i];
        }
    }
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        hr_group *group = &trees->groups[g];
        uint32_t kept = 0;
        qsort(group->cuts, group->n_cuts, sizeof(double), compare_numbers);
        for (uint32_t i = 0; i < group->n_cuts; i++) {
            if (i == 0 || group->cuts[i] != group->cuts[kept - 1]) group->cuts[kept++] = group->cuts[i];
        }
        group->n_cuts = kept;
    }
}

static uint32_t *count_tests(hr_table *table, const hr_trees *trees, const hr_front *front) {
    uint32_t *tests = hr_draft(table, front->n_terms, sizeof *tests);
    for (uint32_t t = 0; tests && t < trees->n_trees; t++) {
        for (uint32_t i = 0; i < trees->trees[t].nodes; i++) {
            uint32_t test = trees->trees[t].test[i];
            if (test != HR_LEAF) tests[test & ~HR_MISSING_LEFT]++;
        }
    }
    return tests;
}

/* Leaf `first` to before leaf `last` of a tree. */
typedef struct {
    uint32_t tree, first, last;
} span;

static uint32_t bit_of(const hr_trees *trees, uint32_t tree, uint32_t leaf) {
    return leaf < 64 ? trees->start[tree] * 8 + leaf : trees->second[tree] * 8 + leaf - 64;
}

static void clear_bits(const hr_trees *trees, uint64_t *string, span leaves) {
    for (uint32_t leaf = leaves.first; leaf < leaves.last; leaf++) {
        uint32_t bit = bit_of(trees, leaves.tree, leaf);
        string[bit >> 6] &= ~((uint64_t)1 << (bit & 63));
    }
}

/* In the strings of one inner node's group: the states that send it right make its left leaves unreachable. */
static void mask_node(const hr_trees *trees, const hr_front *front, const hr_tree *tree, uint32_t node,
                      const uint32_t *group_of, span leaves) {
    uint32_t term = tree->test[node] & ~HR_MISSING_LEFT;
    const hr_group *group = &trees->groups[group_of[term]];
    size_t words = trees->words;
    uint32_t cut = hr_count_below(group->cuts, group->n_cuts, group->coded ? front->terms[term].code : tree->threshold[node]);
    if (!group->coded) { /* spread_masks carries this to all states above */
        clear_bits(trees, group->masks + (cut + 1) * words, leaves);
        if (!(tree->test[node] & HR_MISSING_LEFT)) clear_bits(trees, group->masks + (group->n_cuts + 1) * words, leaves);
        return;
    }
    for (uint32_t state = 0; state <= group->n_cuts; state++) {
        if ((state == cut ? 1.0 : 0.0) > tree->threshold[node]) clear_bits(trees, group->masks + state * words, leaves);
    }
}

static void spread_masks(const hr_group *group, size_t words) {
    for (uint32_t state = 1; !group->coded && state <= group->n_cuts; state++) {
        for (size_t w = 0; w < words; w++) group->masks[state * words + w] &= group->masks[(state - 1) * words + w];
    }
}

/* For every inner node of a tree: the leaves of its left subtree. */
static void mask_tree(const hr_trees *trees, const hr_front *front, uint32_t t, const uint32_t *group_of,
                      uint32_t *leaves_before) {
    const hr_tree *tree = &trees->trees[t];
    uint32_t leaves = 0;
    for (uint32_t i = 0; i < tree->nodes; i++) {
        leaves_before[i] = leaves;
        leaves += tree->test[i] == HR_LEAF;
    }
    for (uint32_t i = 0; i < tree->nodes; i++) {
        if (tree->test[i] == HR_LEAF) continue;
        mask_node(trees, front, tree, i, group_of, (span){t, leaves_before[i], leaves_before[tree->right[i]]});
    }
}

static int compare_groups(const void *left, const void *right) {
    uint32_t a = hr_states_of(left), b = hr_states_of(right);
    return (a > b) - (a < b);
}

/* Memory for a number of bit strings. */
static uint64_t *allocate_masks(hr_table *table, size_t strings, size_t words) {
    char *memory = hr_allocate(table, strings * words + 8, sizeof(uint64_t));
    return memory ? (uint64_t *)(memory + (64 - (uintptr_t)memory % 64) % 64) : NULL;
}

static int fill_joint(hr_table *table, hr_trees *trees, hr_joint *joint, uint32_t states) {
    size_t words = trees->words;
    joint->masks = allocate_masks(table, states, words);
    if (!joint->masks) return -1;
    memset(joint->masks, 0xff, (size_t)states * words * sizeof(uint64_t));
    for (uint32_t state = 0; state < states; state++) {
        uint32_t rest = state;
        for (uint32_t g = joint->first + joint->n; g-- > joint->first;) {
            const hr_group *group = &trees->groups[g];
            const uint64_t *masks = group->masks + (rest % hr_states_of(group)) * words;
            for (size_t w = 0; w < words; w++) joint->masks[state * words + w] &= masks[w];
            rest /= hr_states_of(group);
        }
    }
    return 0;
}

static int may_join(const hr_trees *trees, uint64_t states) {
    return states <= JOINT_STATES && states * trees->words * sizeof(uint64_t) <= JOINT_BYTES;
}

/* Join groups, those of fewest states first, as long as the joint stays small. */
static int join_groups(hr_table *table, hr_trees *trees) {
    trees->joints = hr_allocate(table, trees->n_groups, sizeof *trees->joints);
    if (!trees->joints) return -1;
    qsort(trees->groups, trees->n_groups, sizeof *trees->groups, compare_groups);
    for (uint32_t g = 0; g < trees->n_groups;) {
        hr_joint *joint = &trees->joints[trees->n_joints++];
        uint64_t states = hr_states_of(&trees->groups[g]);
        *joint = (hr_joint){g, 1, trees->groups[g].masks};
        for (g++; g < trees->n_groups && may_join(trees, states * hr_states_of(&trees->groups[g])); g++, joint->n++) {
            states *= hr_states_of(&trees->groups[g]);
        }
        if (joint->n > 1 && fill_joint(table, trees, joint, (uint32_t)states)) return -1;
    }
    return 0;
}

static int build_masks(hr_table *table, hr_model *model, const uint32_t *group_of) {
    hr_trees *trees = &model->trees;
    uint32_t most = 1;
    for (uint32_t t = 0; t < trees->n_trees; t++) most = trees->trees[t].nodes > most ? trees->trees[t].nodes : most;
    uint32_t *leaves_before = hr_draft(table, most, sizeof *leaves_before);
    if (!leaves_before) return -1;
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        size_t size = (size_t)hr_states_of(&trees->groups[g]) * trees->words;
        trees->groups[g].masks = allocate_masks(table, hr_states_of(&trees->groups[g]), trees->words);
        if (!trees->groups[g].masks) return -1;
        memset(trees->groups[g].masks, 0xff, size * sizeof(uint64_t));
    }
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        mask_tree(trees, &model->front, t, group_of, leaves_before);
    }
    for (uint32_t g = 0; g < trees->n_groups; g++) spread_masks(&trees->groups[g], trees->words);
    if (join_groups(table, trees)) return -1;
    trees->chosen = hr_reserve(table, (size_t)trees->n_joints * sizeof(uint64_t *));
    trees->bits = hr_reserve(table, ((size_t)trees->words + 2) * sizeof(uint64_t)); /* + 2: reads past the last byte */
    return 0;
}

/* Entries of `ranks`: 0 a constant for leaves; a term's two (missing is low, missing is high); one for each code. */
static void number_ranks(hr_trees *trees) {
    trees->n_ranks = 1;
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        trees->groups[g].base = trees->n_ranks;
        trees->n_ranks += trees->groups[g].coded ? trees->groups[g].n_cuts : 2;
    }
}

static hr_node pack_node(const hr_trees *trees, const hr_front *front, const hr_tree *tree, uint32_t i,
                         const uint32_t *group_of) {
    uint32_t term = tree->test[i] & ~HR_MISSING_LEFT, entry, rank;
    const hr_group *group = &trees->groups[group_of[term]];
    if (group->coded) { /* entries are 1 or 2: rank 0 sends all right, 1 only the code, 2 none */
        entry = group->base + hr_count_below(group->cuts, group->n_cuts, front->terms[term].code);
        rank = tree->threshold[i] < 0.0 ? 0 : tree->threshold[i] < 1.0 ? 1 : 2;
    } else {
        entry = group->base + (tree->test[i] & HR_MISSING_LEFT ? 0 : 1);
        rank = hr_count_below(group->cuts, group->n_cuts, tree->threshold[i]);
    }
    return (hr_node){tree->right[i], entry << HR_RANK_BITS | rank};
}

/* Packed nodes: the left child is the next one; a leaf always goes "right", to itself, and its key is its number. */
static int build_nodes(hr_table *table, hr_model *model, const uint32_t *group_of) {
    hr_trees *trees = &model->trees;
    uint64_t nodes = 0;
    number_ranks(trees);
    for (uint32_t g = 0; g < trees->n_groups; g++) {
        if (trees->groups[g].n_cuts > HR_MAX_RANK) return hr_fail(table, "trees: too many thresholds of one term");
    }
    if (trees->n_ranks > HR_MAX_RANKS) return hr_fail(table, "trees: too many terms");
    for (uint32_t t = 0; t < trees->n_trees; t++) nodes += trees->trees[t].nodes;
    if (nodes > UINT32_MAX / 2) return hr_fail(table, "trees: too many nodes");
    trees->nodes = hr_allocate(table, nodes, sizeof *trees->nodes);
    if (!trees->nodes) return -1;
    hr_node *out = trees->nodes;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        const hr_tree *tree = &trees->trees[t];
        uint32_t root = (uint32_t)(out - trees->nodes), leaf = 0;
        if (tree->leaves > HR_MAX_RANK) return hr_fail(table, "trees: too many leaves of one tree");
        trees->start[t] = root;
        for (uint32_t i = 0; i < tree->nodes; i++, out++) {
            if (tree->test[i] == HR_LEAF) {
                *out = (hr_node){root + i, leaf++};
            } else {
                *out = pack_node(trees, &model->front, tree, i, group_of);
                out->right += root;
            }
        }
    }
    trees->ranks = hr_reserve(table, trees->n_ranks * sizeof(uint32_t));
    return 0;
}

static uint32_t whole_blocks(size_t words) { return (uint32_t)((words + HR_BLOCK - 1) / HR_BLOCK * HR_BLOCK); }

/* Leaf values of all trees in one array, and where each tree's begin, as values and as bytes of the bit strings. */
static int gather_leaves(hr_table *table, hr_trees *trees) {
    size_t total = 0, bytes = 0;
    trees->start = hr_allocate(table, trees->n_trees, sizeof *trees->start);
    trees->leaves = hr_allocate(table, trees->n_trees, sizeof *trees->leaves);
    trees->second = hr_allocate(table, trees->n_trees, sizeof *trees->second);
    trees->output = hr_allocate(table, trees->n_trees, sizeof *trees->output);
    trees->first = hr_allocate(table, trees->n_trees, sizeof *trees->first);
    if (!trees->start || !trees->second || !trees->leaves || !trees->output || !trees->first) return -1;
    for (uint32_t t = 0; t < trees->n_trees; t++) total += (size_t)trees->trees[t].leaves * trees->leaf;
    trees->values = hr_allocate(table, total, sizeof *trees->values);
    if (!trees->values) return -1;
    total = 0;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        const hr_tree *tree = &trees->trees[t];
        trees->start[t] = (uint32_t)(bytes > UINT32_MAX / 16 ? UINT32_MAX / 16 : bytes);
        trees->second[t] = trees->start[t] + 8;
        trees->leaves[t] = tree->leaves;
        trees->output[t] = tree->output;
        trees->first[t] = total;
        memcpy(trees->values + total, tree->value, (size_t)tree->leaves * trees->leaf * sizeof(double));
        total += (size_t)tree->leaves * trees->leaf;
        bytes += (tree->leaves + 7) / 8;
    }
    if (bytes / 8 >= UINT32_MAX / 128) return hr_fail(table, "trees: too many leaves");
    trees->words = whole_blocks((bytes + 7) / 8);
    return 0;
}

/* Whether every leaf is (1, 0) or (0, 1): a forest's sums are votes then. */
static int is_certain(const hr_trees *trees) {
    if (trees->leaf != 2) return 0;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        const double *value = trees->values + trees->first[t];
        if (trees->leaves[t] > 128) return 0;
        for (uint32_t i = 0; i < trees->leaves[t]; i++, value += 2) {
            if (!((value[0] == 1.0 && value[1] == 0.0) || (value[0] == 0.0 && value[1] == 1.0))) return 0;
        }
    }
    return 1;
}

/* Votes are counted many at once, without looking values up: leaves take whole words, of like trees side by side. */
static int align_leaves(hr_table *table, hr_trees *trees) {
    uint32_t n_long, at_short = 0, at_long;
    for (uint32_t t = 0; t < trees->n_trees; t++) trees->n_short += trees->leaves[t] <= 64;
    n_long = trees->n_trees - trees->n_short;
    at_long = trees->n_short;
    for (uint32_t t = 0; t < trees->n_trees; t++) {
        uint32_t word = trees->leaves[t] <= 64 ? at_short++ : at_long++;
        trees->start[t] = word * 8;
        trees->second[t] = (word + n_long) * 8;
    }
    trees->words = whole_blocks((size_t)trees->n_short + 2 * (size_t)n_long);
    trees->ones = hr_allocate(table, trees->words, sizeof(uint64_t));
    for (uint32_t t = 0; trees->ones && t < trees->n_trees; t++) {
        for (uint32_t i = 0; i < trees->leaves[t]; i++) {
            uint32_t bit = bit_of(trees, t, i);
            if (trees->values[trees->first[t] + 2 * (size_t)i + 1] == 1.0) trees->ones[bit >> 6] |= (uint64_t)1 << (bit & 63);
        }
    }
    return trees->ones ? 0 : -1;
}

int hr_build_trees(hr_table *table, hr_model *model) {
    hr_trees *trees = &model->trees;
    size_t masks = 0;
    uint32_t *tests = count_tests(table, trees, &model->front);
    uint32_t *group_of = hr_draft(table, model->front.n_terms, sizeof *group_of);
    if (!tests || !group_of || gather_leaves(table, trees)) return -1;
    if (is_certain(trees) && align_leaves(table, trees)) return -1;
    if (group_terms(table, trees, &model->front, tests, group_of)) return -1;
    sort_cuts(trees, &model->front, tests, group_of);
    for (uint32_t g = 0; g < trees->n_groups; g++) masks += (size_t)hr_states_of(&trees->groups[g]) * trees->words * 8;
    return masks <= HR_MASKS_LIMIT ? build_masks(table, model, group_of) : build_nodes(table, model, group_of);
}
