/* What a Fast is made from. Arguments come from serving.native.fast, yet nothing about them is taken for granted. */
#include "infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fast_memory {
    fast_memory *next;
    size_t unused; /* keeps the memory behind it aligned to 16 */
};

/* Zeroed memory that lives as long as the object. */
static void *keep(fast_object *self, size_t count, size_t size) {
    if (size != 0 && count > (SIZE_MAX / 2) / size) {
        PyErr_NoMemory();
        return NULL;
    }
    fast_memory *block = calloc(1, sizeof *block + count * size + 1);
    if (!block) {
        PyErr_NoMemory();
        return NULL;
    }
    block->next = self->memory;
    self->memory = block;
    return block + 1;
}

void fast_release(fast_object *self) {
    while (self->memory) {
        fast_memory *block = self->memory;
        self->memory = block->next;
        free(block);
    }
    infer_release(self->infer);
    self->infer = NULL;
    Py_CLEAR(self->table);
    Py_CLEAR(self->scorer);
    Py_CLEAR(self->held);
}

static int take_bytes(fast_object *self, PyObject *object, fast_bytes *bytes) {
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "expected bytes, got %.80s", Py_TYPE(object)->tp_name);
        return -1;
    }
    *bytes = (fast_bytes){PyBytes_AS_STRING(object), (size_t)PyBytes_GET_SIZE(object)};
    return PyList_Append(self->held, object);
}

static int take_list(fast_object *self, PyObject *object, fast_bytes **bytes, uint32_t *n) {
    PyObject *items = PySequence_Tuple(object);
    if (!items) return -1;
    Py_ssize_t size = PyTuple_GET_SIZE(items);
    *bytes = keep(self, (size_t)size, sizeof **bytes);
    *n = (uint32_t)size;
    int failed = !*bytes;
    for (Py_ssize_t i = 0; !failed && i < size; i++) failed = take_bytes(self, PyTuple_GET_ITEM(items, i), &(*bytes)[i]);
    Py_DECREF(items);
    return failed ? -1 : 0;
}

static int take_numbers(fast_object *self, PyObject *object, double **numbers, uint32_t *n) {
    PyObject *items = PySequence_Tuple(object);
    if (!items) return -1;
    Py_ssize_t size = PyTuple_GET_SIZE(items);
    *numbers = keep(self, (size_t)size, sizeof **numbers);
    *n = (uint32_t)size;
    for (Py_ssize_t i = 0; *numbers && i < size; i++) (*numbers)[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(items, i));
    Py_DECREF(items);
    return PyErr_Occurred() ? -1 : 0;
}

static int take_kind(const char *name) {
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {{"number", FAST_NUMBER}, {"integer", FAST_NUMBER}, {"boolean", FAST_BOOLEAN},
                 {"date", FAST_DATE},     {"category", FAST_TEXT},  {"code", FAST_CODE}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) == 0) return kinds[i].kind;
    }
    PyErr_Format(PyExc_ValueError, "unknown column kind %.40s", name);
    return -1;
}

static int take_column(fast_object *self, PyObject *object, fast_column *column) {
    PyObject *name, *values, *edges;
    const char *kind;
    if (!PyArg_ParseTuple(object, "OsOO:column", &name, &kind, &values, &edges)) return -1;
    if (take_bytes(self, name, &column->name)) return -1;
    column->kind = take_kind(kind);
    if (column->kind < 0) return -1;
    if (column->kind == FAST_TEXT && take_list(self, values, &column->texts, &column->n_categories)) return -1;
    if (column->kind == FAST_CODE && take_numbers(self, values, &column->numbers, &column->n_categories)) return -1;
    if (edges != Py_None && take_numbers(self, edges, &column->edges, &column->n_edges)) return -1;
    int coded = column->kind == FAST_TEXT || column->kind == FAST_CODE;
    column->n_counts = coded ? column->n_categories : column->n_edges + 1;
    column->counts = keep(self, column->n_counts, sizeof(uint64_t));
    return column->counts ? 0 : -1;
}

static int take_columns(fast_object *self, PyObject *object) {
    PyObject *items = PySequence_Tuple(object);
    if (!items) return -1;
    uint32_t n = (uint32_t)PyTuple_GET_SIZE(items);
    int failed = 0;
    if (n == 0 || (self->table && self->table->table.columns != n)) {
        PyErr_Format(PyExc_ValueError, "the schema has %u columns, which is not what the model takes", n);
        failed = 1;
    } else {
        self->n_columns = n;
        self->columns = keep(self, n, sizeof *self->columns);
        failed = !self->columns;
    }
    for (uint32_t c = 0; !failed && c < n; c++) failed = take_column(self, PyTuple_GET_ITEM(items, c), &self->columns[c]);
    Py_DECREF(items);
    return failed ? -1 : 0;
}

static int take_labels(fast_object *self, PyObject *labels) {
    if (labels != Py_None && take_list(self, labels, &self->labels, &self->n_labels)) return -1;
    self->width = labels == Py_None ? 1 : self->n_labels;
    if (self->width && (!self->table || self->table->table.width == self->width)) return 0;
    PyErr_Format(PyExc_ValueError, "the schema has %u classes, which is not what the model answers", self->n_labels);
    return -1;
}

static int take_limits(fast_object *self, Py_ssize_t rows, Py_ssize_t bytes, Py_ssize_t sample) {
    if (rows < 1 || rows > 1 << 20 || bytes < 0 || sample < 0) {
        PyErr_SetString(PyExc_ValueError, "expected 1 to 1048576 rows, and no negative limit");
        return -1;
    }
    self->rows_limit = (uint32_t)rows;
    self->bytes_limit = (size_t)bytes;
    self->sample = (uint64_t)sample;
    return 0;
}

static int make_room(fast_object *self) {
    size_t longest = FAST_LONGEST_NUMBER;
    for (uint32_t i = 0; i < self->n_labels; i++) longest = self->labels[i].size > longest ? self->labels[i].size : longest;
    size_t capacity = self->v2_head.size + self->v2_tail.size + FAST_LONGEST_ID + 256;
    self->rows = keep(self, (size_t)self->rows_limit * self->n_columns, sizeof(double));
    self->scores = keep(self, (size_t)self->rows_limit * self->width, sizeof(double));
    size_t head = self->head.size + HTTP_DATE_SIZE + FAST_LONGEST_ID + 64; /* with the request's id and the length */
    char *answer = keep(self, head + capacity + (longest + 1) * self->rows_limit, 1);
    self->body = answer ? answer + head : NULL;
    self->seen = keep(self, self->n_columns, sizeof *self->seen);
    self->predictions = keep(self, (size_t)(self->n_labels ? self->n_labels : self->n_edges + 1), sizeof(uint64_t));
    self->score_counts = keep(self, (size_t)self->n_edges + 1, sizeof(uint64_t));
    return self->rows && self->scores && self->body && self->seen && self->predictions && self->score_counts ? 0 : -1;
}

static int take_scorer(fast_object *self, PyObject *scorer) {
    if (Py_IS_TYPE(scorer, hr_table_type)) {
        self->table = (table_object *)Py_NewRef(scorer);
    } else if (PyCallable_Check(scorer)) {
        self->scorer = Py_NewRef(scorer);
    } else {
        PyErr_Format(PyExc_TypeError, "expected a Table or a function, got %.80s", Py_TYPE(scorer)->tp_name);
        return -1;
    }
    return 0;
}

int fast_set_up(fast_object *self, PyObject *args, PyObject *named) {
    static char *names[] = {"scorer", "columns", "labels", "paths", "head", "v2", "outcomes", "limits", "sample", NULL};
    PyObject *scorer, *columns, *labels, *v1, *v2, *head, *v2_head, *v2_tail, *edges;
    Py_ssize_t rows, bytes, sample;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOO(OO)O(OO)(Oi)(nn)n:Fast", names, &scorer, &columns,
                                     &labels, &v1, &v2, &head, &v2_head, &v2_tail, &edges, &self->scored_class, &rows,
                                     &bytes, &sample)) {
        return -1;
    }
    self->held = PyList_New(0);
    if (!self->held || take_scorer(self, scorer) || take_columns(self, columns) || take_labels(self, labels)) return -1;
    if (take_bytes(self, v1, &self->v1_path) || take_list(self, v2, &self->v2_paths, &self->n_v2_paths)) return -1;
    if (take_bytes(self, head, &self->head) || take_bytes(self, v2_head, &self->v2_head)) return -1;
    if (take_bytes(self, v2_tail, &self->v2_tail) || take_numbers(self, edges, &self->edges, &self->n_edges)) return -1;
    if (self->scored_class >= (int)self->n_labels) {
        PyErr_SetString(PyExc_ValueError, "the scored class is not one of the classes");
        return -1;
    }
    return take_limits(self, rows, bytes, sample) || make_room(self) ? -1 : 0;
}
