/* Counters: what was answered, how fast, and in which bins of the reference the features and predictions fell. */
#include "infer.h"

#include <math.h>

const double fast_latency_bounds[FAST_LATENCY_BOUNDS] = {1e-05,  2.5e-05, 5e-05,  0.0001, 0.00025, 0.0005, 0.001,
                                                         0.0025, 0.005,   0.01,   0.025,  0.05,    0.1};

/* The position of the first of the largest: numpy's argmax. */
uint32_t fast_likeliest(const double *scores, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t k = 1; k < n; k++) best = scores[k] > scores[best] ? k : best;
    return best;
}

#define FEW_EDGES 32 /* comparing with all of them, two or more at once, takes less than finding the right one */

/* How many edges are at or below the value. */
static uint32_t find_bin(const double *edges, uint32_t n, double value) {
    uint32_t low = 0;
    if (n <= FEW_EDGES) {
        uint64_t below = 0;
        for (uint32_t i = 0; i < n; i++) below += edges[i] <= value;
        return (uint32_t)below;
    }
    while (n > 0) {
        uint32_t half = n >> 1;
        if (edges[low + half] <= value) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

static void count_feature(fast_column *column, double value) {
    if (isnan(value)) {
        column->missing++;
    } else if (column->kind != FAST_TEXT && column->kind != FAST_CODE) {
        column->counts[find_bin(column->edges, column->n_edges, value)]++;
    } else if (value >= 0.0 && value < column->n_counts) {
        column->counts[(uint32_t)value]++;
    } else {
        column->unseen++;
    }
}

static void count_outcome(fast_object *self, const double *scores) {
    if (self->n_labels == 0) {
        self->predictions[find_bin(self->edges, self->n_edges, scores[0])]++;
        return;
    }
    uint32_t best = fast_likeliest(scores, self->n_labels);
    double score = scores[self->scored_class < 0 ? best : (uint32_t)self->scored_class];
    self->predictions[best]++;
    self->score_counts[find_bin(self->edges, self->n_edges, score)]++;
}

void fast_count_rows(fast_object *self, const double *features, const double *scores, size_t rows) {
    uint32_t width = self->n_labels ? self->n_labels : 1;
    for (size_t i = 0; i < rows; i++) {
        for (uint32_t c = 0; c < self->n_columns; c++) count_feature(&self->columns[c], features[i * self->n_columns + c]);
        count_outcome(self, scores + i * width);
    }
    self->n_rows += rows;
}

void fast_count_seconds(fast_object *self, double seconds) {
    uint32_t bucket = 0;
    while (bucket < FAST_LATENCY_BOUNDS && seconds > fast_latency_bounds[bucket]) bucket++;
    self->latencies[bucket]++;
    self->seconds += seconds;
}

static PyObject *list_of(const uint64_t *counts, size_t n) {
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(counts[i]);
        if (!count) Py_CLEAR(list);
        else PyList_SET_ITEM(list, (Py_ssize_t)i, count);
    }
    return list;
}

static PyObject *list_of_bounds(void) {
    PyObject *list = PyList_New(FAST_LATENCY_BOUNDS);
    for (Py_ssize_t i = 0; list && i < FAST_LATENCY_BOUNDS; i++) {
        PyObject *bound = PyFloat_FromDouble(fast_latency_bounds[i]);
        if (!bound) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, bound);
    }
    return list;
}

static PyObject *list_of_columns(const fast_object *self) {
    PyObject *list = PyList_New(self->n_columns);
    for (uint32_t c = 0; list && c < self->n_columns; c++) {
        const fast_column *column = &self->columns[c];
        PyObject *entry = Py_BuildValue("{s:N,s:K,s:K}", "counts", list_of(column->counts, column->n_counts), "missing",
                                        column->missing, "unseen", column->unseen);
        if (!entry) Py_CLEAR(list);
        else PyList_SET_ITEM(list, c, entry);
    }
    return list;
}

PyObject *fast_counters(PyObject *object, PyObject *unused) {
    fast_object *self = (fast_object *)object;
    uint32_t outcomes = self->n_labels ? self->n_labels : self->n_edges + 1, scores = self->n_labels ? self->n_edges + 1 : 0;
    (void)unused;
    return Py_BuildValue("{s:{s:K,s:K,s:K},s:K,s:{s:N,s:N,s:d},s:N,s:N,s:N}", "requests", "v1", self->v1_requests, "v2",
                         self->v2_requests, "grpc", self->infer ? self->infer->requests : (uint64_t)0, "rows", self->n_rows, "seconds", "bounds", list_of_bounds(), "counts",
                         list_of(self->latencies, FAST_LATENCY_BOUNDS + 1), "sum", self->seconds, "predictions",
                         list_of(self->predictions, outcomes), "scores", list_of(self->score_counts, scores), "columns",
                         list_of_columns(self));
}
