/* A fitted pipeline folded into a table, and its evaluator.
 *
 * Independent of Python, so that it can be run under sanitizers and reused by another host. Nothing in a file is
 * trusted: every count, index and number is checked on load, and all that is fast to evaluate (sorted cuts, bit masks,
 * packed nodes) is derived from what was checked. A damaged file is refused with a reason; it cannot crash.
 *
 * FORMAT (version 1, little endian, no padding)
 *
 *   file    := "HEADRACE" u32 version, u32 crc32 (of everything after the first 24 bytes), u64 length (of the file),
 *              u32 columns, u32 width, model
 *   model   := u32 kind, u32 outputs, then by kind:
 *     1 MIX      u32 n, f64 divisor, f64 weight[n], model[n]        sum of weight * member, in order, / divisor
 *     2 LINEAR   u32 link, front, f64 intercept[raw], f64 coefficient[raw][terms]
 *     3 TREES    u32 link, u32 single (1: cast terms to float32), f64 divisor, front, u32 leaf (numbers per leaf),
 *                u32 n, tree[n]                                     sums of leaves in file order, / divisor, then link
 *     4 KERNEL   u32 kernel (1 linear, 2 RBF), f64 gamma, front, u32 classes, u32 vectors, u32 of_class[classes],
 *                f64 intercept[pairs], f64 dual[classes - 1][vectors], f64 vector[vectors][terms]
 *                decision values of a support vector machine: 1 for two classes, else one per class from votes
 *     5 SIGMOID  f64 a[n], f64 b[n], model (n outputs)              1 / (1 + exp(a x + b)); n = 1 for two classes
 *   tree    := u32 output (which raw output a leaf of one number adds to; 0 otherwise), u32 nodes,
 *              u32 test[nodes], u32 right[nodes], f64 threshold[nodes], f64 value[leaves][leaf]
 *              nodes in preorder: the left child follows its parent; test is the term, | 0x40000000 when missing goes
 *              left, or 0xffffffff for a leaf; a row goes left when term <= threshold; leaves from left to right
 *   front   := u32 derived, derived[], u32 terms, term[]
 *   derived := u32 operation (1 ratio, 2 combination), u32 n, u32 column[n], f64 coefficient[n] (combination only)
 *              a value beyond float32, or not a number, is missing; its column comes after the table's columns
 *   term    := u32 column, u32 parts (bits: 1 fill, 2 mean, 4 scale, 8 code), f64 fill, f64 mean, f64 scale, f64 code
 *              missing -> fill; then 1 or 0 for equality with code, else (x - mean) / scale
 *   link    := 0 identity, 1 expit: raw x -> (1 - p, p), 2 softmax
 *
 * EVALUATION OF TREES. Each term that is tested is cut at its thresholds; a row's value falls into one state per term
 * (found by binary search). For each state a bit string over all leaves of all trees says which leaves are still
 * reachable; the AND over the terms leaves, per tree, the exit leaf as its lowest bit (Lucchese et al., QuickScorer,
 * SIGIR 2015, with the ANDs along a term's cuts, and between terms of few states, taken beforehand). Where those strings would be too large, packed nodes
 * are walked instead, several trees at a time, comparing the same states. Leaves are added in file order in double.
 */
#ifndef HEADRACE_TABLE_H
#define HEADRACE_TABLE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the table evaluator reads little-endian memory; this platform uses ONNX Runtime instead"
#endif

enum { HR_MIX = 1, HR_LINEAR = 2, HR_TREES = 3, HR_KERNEL = 4, HR_SIGMOID = 5 };
enum { HR_IDENTITY = 0, HR_EXPIT = 1, HR_SOFTMAX = 2 };
enum { HR_RATIO = 1, HR_COMBINATION = 2 };
enum { HR_FILL = 1, HR_MEAN = 2, HR_SCALE = 4, HR_CODE = 8 };
enum { HR_LINEAR_KERNEL = 1, HR_RBF = 2 };

#define HR_LEAF 0xffffffffu
#define HR_MISSING_LEFT 0x40000000u
#define HR_MAX_WIDTH 4096u
#define HR_MAX_COLUMNS 4096u
#define HR_MAX_TERMS 65536u
#define HR_MAX_DEPTH 4 /* of models within models */
#define HR_MASKS_LIMIT ((size_t)16 << 20) /* bytes of bit strings beyond which nodes are walked; about one L3 slice */

typedef struct {
    uint32_t operation, n;
    uint32_t *columns;
    double *coefficients;
} hr_derived;

typedef struct {
    uint32_t column, parts;
    double fill, mean, scale, code;
} hr_term;

typedef struct {
    uint32_t n_derived, n_terms;
    hr_derived *derived;
    hr_term *terms;
    size_t values; /* scratch offset: columns followed by derived columns */
} hr_front;

/* One tree as it stands in the file, after validation. */
typedef struct {
    uint32_t output, nodes, leaves;
    uint32_t *test, *right;
    double *threshold, *value;
} hr_tree;

/* One tested term, or all tested codes of one filled column, and the states its value can be in. */
typedef struct {
    int coded;
    uint32_t term;   /* the (first) term: it says column, fill, mean and scale */
    uint32_t n_cuts; /* states: 0..n_cuts by cuts below the value, then missing; coded: which code, or n_cuts for none */
    double *cuts;
    uint64_t *masks; /* [states][words] */
    uint32_t base;   /* walking: first entry of `ranks` */
} hr_group;

/* Groups of few states whose strings are taken together: one string for every combination of their states. */
typedef struct {
    uint32_t first, n; /* groups */
    uint64_t *masks;   /* [product of their states][words], the last group's state counting fastest */
} hr_joint;

typedef struct {
    uint32_t right, key; /* key: entry of `ranks` << 20 | rank */
} hr_node;

typedef struct {
    uint32_t single, leaf, n_trees;
    double divisor;
    hr_tree *trees; /* a draft: gone when the table is loaded */
    uint32_t n_groups, n_joints, words, n_ranks;
    hr_group *groups;
    hr_joint *joints;
    uint64_t *ones; /* leaves that are certain of the second of two classes; NULL unless all are certain of one, and then: */
    uint32_t n_short; /* trees of up to 64 leaves: a word each, and the others two, all the first before all the second */
    uint32_t *start;  /* masks: first byte of each tree's leaves; walk: root */
    uint32_t *second; /* masks: byte of each tree's leaves from the 64th */
    uint32_t *leaves; /* per tree */
    uint32_t *output; /* per tree */
    size_t *first;    /* per tree: index of its first leaf value */
    double *values;   /* all leaves */
    hr_node *nodes;   /* walking only */
    size_t chosen, bits, ranks; /* scratch offsets */
} hr_trees;

typedef struct {
    uint32_t kernel, classes, vectors;
    double gamma;
    uint32_t *of_class;
    double *intercept, *dual, *vector;
    size_t kernels; /* scratch offset */
} hr_kernel;

typedef struct hr_model hr_model;
struct hr_model {
    uint32_t kind, outputs, link, raw;
    hr_front front;
    size_t terms, scores; /* scratch offsets */
    double *intercept, *coefficient; /* linear; SIGMOID: a and b */
    hr_trees trees;
    hr_kernel svm;
    uint32_t n_members;
    double divisor, *weights;
    hr_model *members;
};

typedef struct hr_block hr_block;

typedef struct {
    uint32_t columns, width, n_trees;
    hr_model model;
    size_t scratch; /* bytes one evaluation needs */
    hr_block *blocks, *drafts; /* memory of the table, and of its loading */
    char error[160];
} hr_table;

/* Fills a zeroed table; returns 0, or -1 with `error` set. hr_free is due either way. */
int hr_load(hr_table *table, const unsigned char *data, size_t size);
void hr_free(hr_table *table);

/* Scores rows one after the other; `scratch` has table->scratch bytes, aligned to 64. */
void hr_score(const hr_table *table, const double *features, size_t rows, double *out, char *scratch);

/* Between the files of the evaluator. */
void *hr_allocate(hr_table *table, size_t count, size_t size);
void *hr_draft(hr_table *table, size_t count, size_t size);
size_t hr_reserve(hr_table *table, size_t bytes);
int hr_fail(hr_table *table, const char *what);
int hr_read_model(hr_table *table, const unsigned char *data, size_t size);
int hr_build_trees(hr_table *table, hr_model *model);
const double *hr_front_values(const hr_table *table, const hr_front *front, const double *row, char *scratch);
void hr_sum_trees(const hr_model *model, const double *values, double *raw, char *scratch);

static inline double hr_term_value(const hr_term *term, const double *values) {
    double value = values[term->column];
    if ((term->parts & HR_FILL) && isnan(value)) value = term->fill;
    if (term->parts & HR_CODE) return value == term->code ? 1.0 : 0.0;
    if (term->parts & HR_MEAN) value -= term->mean;
    if (term->parts & HR_SCALE) value /= term->scale;
    return value;
}

#endif
