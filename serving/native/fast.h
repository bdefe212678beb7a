/* The hot path of one model: what it knows of the schema, its working memory and its counters. */
#ifndef HEADRACE_FAST_H
#define HEADRACE_FAST_H

#include "account.h"
#include "module.h" /* Python.h comes first: it sets feature macros */

#include "http.h"
#include "json.h"

#define FAST_LATENCY_BOUNDS 13 /* upper bounds of the buckets of time inside `handle` */
#define FAST_LONGEST_ID 128
#define FAST_LONGEST_NUMBER 26 /* characters of a rendered float64, with its comma */

#define FAST_FLOAT32_MAX 3.4028234663852886e38

extern const double fast_latency_bounds[FAST_LATENCY_BOUNDS];

enum { FAST_NUMBER, FAST_BOOLEAN, FAST_DATE, FAST_TEXT, FAST_CODE };

typedef struct {
    const char *start;
    size_t size;
} fast_bytes;

typedef struct {
    fast_bytes name;
    int kind;
    uint32_t n_categories;
    fast_bytes *texts;   /* of FAST_TEXT, in code order */
    double *numbers;     /* of FAST_CODE, in code order */
    uint32_t n_edges, n_counts;
    double *edges;
    uint64_t *counts;    /* [n_edges + 1] or [n_categories] */
    uint64_t missing, unseen;
} fast_column;

typedef struct fast_memory fast_memory;
struct infer_model;

/* What a tensor says before its data. */
typedef struct {
    json_text name;
    uint32_t rank, shape[2];
    const struct fast_datatype *type;
} fast_tensor;

#define FAST_LONGEST_TENSOR 256

/* The first tensor of an earlier request up to its data, as text and as read: clients send the same again and again. */
typedef struct {
    size_t size, name; /* bytes, 0 when there is none; where among them the name is */
    fast_tensor read;
    char bytes[FAST_LONGEST_TENSOR];
} fast_tensor_memory;

typedef struct {
    PyObject_HEAD
    table_object *table; /* or NULL, and then: */
    PyObject *scorer;    /* called with the rows as bytes and their number */
    int busy;            /* while the scorer runs, which may let other threads in */
    PyObject *held; /* list of the bytes objects that fast_bytes point into */
    fast_memory *memory;
    uint32_t n_columns, width, n_labels, n_v2_paths, rows_limit;
    size_t bytes_limit;
    fast_column *columns;
    fast_bytes *labels, *v2_paths; /* no labels: regression */
    fast_bytes v1_path, head, v2_head, v2_tail;
    uint64_t sample, ordinary; /* every sample-th ordinary request is left to the generic path */
    double *rows, *scores;     /* [rows_limit][n_columns], [rows_limit][width] */
    char *body;                /* of the answer; before it there is room for the head */
    http_date date;
    http_memory head_memory;
    fast_tensor_memory tensor_memory;
    uint32_t *seen, stamp;     /* per column: the last row or request that named it */
    int scored_class;
    uint32_t n_edges;
    double *edges;
    uint64_t *predictions, *score_counts;
    uint64_t v1_requests, v2_requests, n_rows;
    uint64_t latencies[FAST_LATENCY_BOUNDS + 1];
    double seconds;
    struct infer_model *infer; /* or NULL: gRPC takes the generic path */
} fast_object;

/* protocol.c: the body into self->rows; the number of rows, or 0 when it is not ordinary. */
uint32_t fast_read_v1(fast_object *self, json_cursor *in);
uint32_t fast_read_v2(fast_object *self, json_cursor *in, json_text *id);

/* protocol.c: one value, and names of columns, in whatever form they came; 0 when it is not ordinary. */
int fast_take_code(const fast_column *column, double number, double *value);
int fast_take_text(const fast_column *column, fast_bytes text, int ascii, double *value);
int fast_take_date(fast_bytes text, double *value);
uint32_t fast_find_column(const fast_object *self, fast_bytes name, uint32_t guess);
int fast_mark(fast_object *self, uint32_t column);
void fast_start_marks(fast_object *self);

/* counts.c */
void fast_count_rows(fast_object *self, const double *features, const double *scores, size_t rows);
void fast_count_seconds(fast_object *self, double seconds);
uint32_t fast_likeliest(const double *scores, uint32_t n);
PyObject *fast_counters(PyObject *object, PyObject *unused);

/* fast.c: the answer, which stands until the next one, or nothing (and no exception) when the request is not ordinary. */
fast_bytes fast_answer(fast_object *self, const char *data, size_t size);
int fast_score(fast_object *self, uint32_t rows); /* self->rows into self->scores: 0, or -1 */
double fast_now(void);

/* wire.c: what all connections of a process share */
fast_object *hr_gate_fast(PyObject *gate);
long long hr_gate_clock(PyObject *gate);
hr_account *hr_gate_account(PyObject *gate);
int hr_gate_due(PyObject *gate);

/* setup.c: reads the constructor's arguments; 0, or -1 with an exception. */
int fast_set_up(fast_object *self, PyObject *args, PyObject *named);
void fast_release(fast_object *self);

#endif
