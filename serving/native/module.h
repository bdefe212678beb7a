/* What the parts of the Python module share. */
#ifndef HEADRACE_MODULE_H
#define HEADRACE_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "table.h"

typedef struct {
    PyObject_HEAD
    hr_table table;
    void *memory;
    char *scratch; /* of calls that hold the GIL */
} table_object;

extern PyObject *hr_table_error;
extern PyTypeObject *hr_table_type, *hr_fast_type, *hr_gate_type;
extern PyType_Spec hr_table_spec, hr_fast_spec, hr_gate_spec, hr_wire_spec, hr_rpc_spec;

PyObject *hr_outline(PyObject *module, PyObject *args);
int hr_name_wire(void);
int hr_name_rpc(void);
char *hr_scratch(const hr_table *table, void **memory);

#endif
