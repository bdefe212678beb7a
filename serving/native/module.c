/* The Python module: Table here, Fast in fast.c, Gate and Wire in wire.c. */
#include "module.h"

#include <stdlib.h>

#define SMALL 64 /* rows scored without releasing the GIL: a switch costs more than that */

PyObject *hr_table_error;

static void table_dealloc(PyObject *object) {
    table_object *self = (table_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    hr_free(&self->table);
    free(self->memory);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Scratch memory on a cache line; *memory is what to free. */
char *hr_scratch(const hr_table *table, void **memory) {
    *memory = calloc(1, table->scratch + 64);
    return *memory ? (char *)(((uintptr_t)*memory + 63) & ~(uintptr_t)63) : NULL;
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    static char *names[] = {"data", NULL};
    Py_buffer data;
    int refused;
    if (!PyArg_ParseTupleAndKeywords(args, named, "y*:Table", names, &data)) return NULL;
    table_object *self = (table_object *)type->tp_alloc(type, 0);
    if (!self) {
        PyBuffer_Release(&data);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    refused = hr_load(&self->table, data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    if (refused) {
        PyErr_SetString(hr_table_error, self->table.error);
    } else if (!(self->scratch = hr_scratch(&self->table, &self->memory))) {
        PyErr_NoMemory();
    } else {
        return (PyObject *)self;
    }
    Py_DECREF(self);
    return NULL;
}

static int score_apart(const hr_table *table, const double *features, size_t rows, double *out) {
    void *memory;
    char *scratch = hr_scratch(table, &memory);
    if (!scratch) return -1;
    hr_score(table, features, rows, out, scratch);
    free(memory);
    return 0;
}

static int score_into(table_object *self, const double *features, size_t rows, double *out) {
    int failed = 0;
    if (rows <= SMALL) {
        hr_score(&self->table, features, rows, out, self->scratch);
    } else {
        Py_BEGIN_ALLOW_THREADS
        failed = score_apart(&self->table, features, rows, out);
        Py_END_ALLOW_THREADS
    }
    return failed;
}

static PyObject *table_score(PyObject *object, PyObject *args) {
    table_object *self = (table_object *)object;
    Py_buffer features;
    Py_ssize_t rows;
    PyObject *out = NULL;
    if (!PyArg_ParseTuple(args, "y*n:score", &features, &rows)) return NULL;
    Py_ssize_t row_bytes = (Py_ssize_t)(self->table.columns * sizeof(double));
    if (rows < 0 || rows > features.len / row_bytes || rows * row_bytes != features.len) {
        PyErr_Format(PyExc_ValueError, "features: expected %zd rows of %u float64, got %zd bytes", rows,
                     self->table.columns, features.len);
    } else if ((uintptr_t)features.buf % sizeof(double) != 0) {
        PyErr_SetString(PyExc_ValueError, "features: the buffer is not aligned to 8 bytes");
    } else if (rows > PY_SSIZE_T_MAX / (Py_ssize_t)(self->table.width * sizeof(double)) - 64) {
        PyErr_NoMemory();
    } else {
        out = PyBytes_FromStringAndSize(NULL, rows * (Py_ssize_t)(self->table.width * sizeof(double)));
        if (out && score_into(self, features.buf, (size_t)rows, (double *)PyBytes_AS_STRING(out))) {
            Py_CLEAR(out);
            PyErr_NoMemory();
        }
    }
    PyBuffer_Release(&features);
    return out;
}

static PyObject *get_columns(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLong(((table_object *)self)->table.columns);
}

static PyObject *get_width(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLong(((table_object *)self)->table.width);
}

static PyObject *get_trees(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLong(((table_object *)self)->table.n_trees);
}

static PyMethodDef table_methods[] = {
    {"score", table_score, METH_VARARGS, "score(features, rows) -> bytes: float64 [rows, columns] to float64 [rows, width]."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef table_attributes[] = {
    {"columns", get_columns, NULL, "Numbers per row of features.", NULL},
    {"width", get_width, NULL, "Numbers per answered row.", NULL},
    {"trees", get_trees, NULL, "Number of trees, of all members together.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "Table(data): the evaluator of a folded model; raises TableError for damaged or foreign bytes."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_getset, table_attributes},
    {0, NULL},
};

PyType_Spec hr_table_spec = {"serving.native._native.Table", sizeof(table_object), 0, Py_TPFLAGS_DEFAULT, table_slots};

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
    *type = (PyTypeObject *)PyType_FromSpec(spec);
    return *type ? PyModule_AddType(module, *type) : -1;
}

PyTypeObject *hr_table_type, *hr_fast_type, *hr_gate_type;
static PyTypeObject *wire_type, *rpc_type;

static PyMethodDef functions[] = {
    {"outline", hr_outline, METH_VARARGS,
     "outline(json, key, every) -> (values, depth, widest, elements, start, end, cuts): see serving.outline."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "serving.native._native", "The C side of serving; see serving.native.", -1, functions, NULL, NULL,
    NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    hr_table_error = PyErr_NewExceptionWithDoc("serving.native._native.TableError", "The bytes are not a table that can be used.",
                                               PyExc_ValueError, NULL);
    if (!hr_table_error || PyModule_AddObjectRef(module, "TableError", hr_table_error) ||
        add_type(module, &hr_table_spec, &hr_table_type) || add_type(module, &hr_fast_spec, &hr_fast_type) ||
        add_type(module, &hr_gate_spec, &hr_gate_type) || add_type(module, &hr_wire_spec, &wire_type) || hr_name_wire() ||
        add_type(module, &hr_rpc_spec, &rpc_type) || hr_name_rpc()) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
