/* An ordinary ModelInferRequest into encoded rows: the same numbers as serving.calls gets, or nothing. */
#include "infer.h"

#include <math.h>
#include <string.h>

#define TAG(field, type) ((field) << 3 | (type))

enum { FP64, FP32, INT64, INT32, BOOL, BYTES, TYPES };

/* By datatype: its name, bytes per raw element, and the field of InferTensorContents for it. */
static const struct {
    const char *name;
    size_t size;
    int tag;
} types[TYPES] = {
    {"FP64", 8, TAG(7, PROTO_BYTES)},  {"FP32", 4, TAG(6, PROTO_BYTES)}, {"INT64", 8, TAG(3, PROTO_BYTES)},
    {"INT32", 4, TAG(2, PROTO_BYTES)}, {"BOOL", 1, TAG(1, PROTO_BYTES)}, {"BYTES", 0, TAG(8, PROTO_BYTES)},
};

static int is(proto_cursor text, const char *word) {
    return proto_size(&text) == strlen(word) && memcmp(text.at, word, proto_size(&text)) == 0;
}

static int same(proto_cursor text, fast_bytes bytes) {
    return proto_size(&text) == bytes.size && memcmp(text.at, bytes.start, bytes.size) == 0;
}

static int is_ascii(proto_cursor text) {
    unsigned char all = 0;
    for (const char *at = text.at; at < text.end; at++) all |= (unsigned char)*at;
    return all < 0x80;
}

/* Text that came without JSON: there "" stands for a missing value, in a column of its own. */
static int take_text(const fast_column *column, proto_cursor text, int alone, double *value) {
    fast_bytes bytes = {text.at, proto_size(&text)};
    if (column->kind == FAST_TEXT) {
        if (!fast_take_text(column, bytes, is_ascii(text), value)) return 0;
        if (alone && bytes.size == 0 && *value < 0.0) *value = NAN;
        return 1;
    }
    if (alone && bytes.size == 0) {
        *value = NAN;
        return 1;
    }
    return column->kind == FAST_DATE && fast_take_date(bytes, value);
}

/* NaN stands for a missing value in every column. */
static int take_number(const fast_column *column, double number, double *value) {
    *value = number;
    if (isnan(number)) {
        *value = NAN;
        return 1;
    }
    if (column->kind == FAST_CODE) return fast_take_code(column, number, value);
    if (column->kind == FAST_BOOLEAN) return number == 0.0 || number == 1.0;
    return column->kind == FAST_NUMBER && fabs(number) <= FAST_FLOAT32_MAX;
}

static int take_truth(const fast_column *column, uint64_t truth, double *value) {
    *value = (double)truth;
    return truth <= 1 && column->kind == FAST_BOOLEAN;
}

static int read_raw_text(proto_cursor *in, proto_cursor *text) {
    uint32_t size;
    if (proto_size(in) < 4) return 0;
    memcpy(&size, in->at, 4);
    in->at += 4;
    if (size > proto_size(in)) return 0;
    *text = (proto_cursor){in->at, in->at + size};
    in->at += size;
    return 1;
}

static int read_typed_text(proto_cursor *in, proto_cursor *text) {
    int tag;
    return in->at < in->end && proto_read_tag(in, &tag) && tag == types[BYTES].tag && proto_read_bytes(in, text);
}

/* The next element of a tensor; raw ones of fixed size are known to be there. */
static int read_element(const fast_column *column, const infer_tensor *tensor, proto_cursor *in, int raw, double *value) {
    union {
        double fp64;
        float fp32;
        int64_t int64;
        int32_t int32;
    } number;
    uint64_t varint = 0;
    proto_cursor text;
    int packed_varints = !raw && (tensor->type == INT64 || tensor->type == INT32 || tensor->type == BOOL);
    if (packed_varints && !proto_read_varint(in, &varint)) return 0;
    switch (tensor->type) {
    case FP64:
        memcpy(&number.fp64, in->at, 8);
        in->at += 8;
        return take_number(column, number.fp64, value);
    case FP32:
        memcpy(&number.fp32, in->at, 4);
        in->at += 4;
        return take_number(column, (double)number.fp32, value);
    case INT64:
        if (!raw) return take_number(column, (double)(int64_t)varint, value);
        memcpy(&number.int64, in->at, 8);
        in->at += 8;
        return take_number(column, (double)number.int64, value);
    case INT32:
        if (!raw) return take_number(column, (double)(int32_t)(uint32_t)varint, value);
        memcpy(&number.int32, in->at, 4);
        in->at += 4;
        return take_number(column, (double)number.int32, value);
    case BOOL:
        return take_truth(column, raw ? (unsigned char)*in->at++ : varint, value);
    default:
        if (!(raw ? read_raw_text(in, &text) : read_typed_text(in, &text))) return 0;
        return take_text(column, text, tensor->alone, value);
    }
}

/* Where the elements lie, when there can be as many as the shape says. */
static int find_elements(const infer_tensor *tensor, const proto_cursor *raw, size_t elements, proto_cursor *in) {
    size_t size = types[tensor->type].size;
    int tag, is_fixed = tensor->type == FP64 || tensor->type == FP32;
    if (raw) {
        *in = *raw;
        return !tensor->has_contents && (size == 0 || proto_size(in) == elements * size);
    }
    if (!tensor->has_contents) return 0;
    *in = tensor->contents;
    if (tensor->type == BYTES) return 1;
    if (in->at == in->end || !proto_read_tag(in, &tag) || tag != types[tensor->type].tag) return 0;
    proto_cursor packed;
    if (!proto_read_bytes(in, &packed) || in->at != in->end) return 0;
    *in = packed;
    return !is_fixed || proto_size(in) == elements * size;
}

static int add_size(infer_tensor *tensor, uint64_t size, uint32_t limit) {
    if (tensor->rank == 2 || size < 1 || size > limit) return 0;
    tensor->shape[tensor->rank++] = (uint32_t)size;
    return 1;
}

static int read_datatype(proto_cursor text, infer_tensor *tensor) {
    tensor->type = 0;
    while (tensor->type < TYPES && !is(text, types[tensor->type].name)) tensor->type++;
    return tensor->type < TYPES;
}

static int read_tensor(proto_cursor in, infer_tensor *tensor, uint32_t limit) {
    enum { NAME = 1, TYPE = 2, SHAPE = 4, CONTENTS = 8 };
    unsigned seen = 0;
    memset(tensor, 0, sizeof *tensor);
    while (in.at < in.end) {
        proto_cursor text = {NULL, NULL};
        uint64_t size;
        int tag, known = 0;
        if (!proto_read_tag(&in, &tag)) return 0;
        if (tag == TAG(3, PROTO_VARINT)) {
            if (!proto_read_varint(&in, &size) || !add_size(tensor, size, limit)) return 0;
            continue;
        }
        if ((tag & 7) != PROTO_BYTES || !proto_read_bytes(&in, &text)) return 0;
        unsigned field = tag >> 3 == 1 ? NAME : tag >> 3 == 2 ? TYPE : tag >> 3 == 3 ? SHAPE : tag >> 3 == 5 ? CONTENTS : 0;
        if (!field || seen & field) return 0;
        seen |= field;
        if (field == NAME) tensor->name = text, known = 1;
        if (field == TYPE) known = read_datatype(text, tensor);
        if (field == CONTENTS) tensor->contents = text, tensor->has_contents = known = 1;
        if (field == SHAPE) {
            for (known = 1; known && text.at < text.end;) {
                known = proto_read_varint(&text, &size) && add_size(tensor, size, limit);
            }
        }
        if (!known) return 0;
    }
    return (seen & TYPE) && tensor->rank;
}

static int read_matrix(fast_object *self, const infer_tensor *tensor, const proto_cursor *raw) {
    proto_cursor in;
    double *value = self->rows;
    if (!is_ascii(tensor->name)) return 0;
    if (!find_elements(tensor, raw, (size_t)tensor->shape[0] * self->n_columns, &in)) return 0;
    for (uint32_t i = 0; i < tensor->shape[0]; i++) {
        for (uint32_t c = 0; c < self->n_columns; c++) {
            if (!read_element(&self->columns[c], tensor, &in, raw != NULL, value++)) return 0;
        }
    }
    return in.at == in.end;
}

static int read_column(fast_object *self, const infer_tensor *tensor, const proto_cursor *raw, uint32_t column) {
    proto_cursor in;
    double *value = self->rows + column;
    if (!find_elements(tensor, raw, tensor->shape[0], &in)) return 0;
    for (uint32_t i = 0; i < tensor->shape[0]; i++, value += self->n_columns) {
        if (!read_element(&self->columns[column], tensor, &in, raw != NULL, value)) return 0;
    }
    return in.at == in.end;
}

static uint32_t read_inputs(fast_object *self, const infer_request *request) {
    uint32_t rows = 0, n = self->n_columns, limit = self->rows_limit > n ? self->rows_limit : n;
    fast_start_marks(self);
    for (uint32_t i = 0; i < request->n_inputs; i++) {
        infer_tensor tensor;
        const proto_cursor *raw = request->n_raws ? &self->infer->raws[i] : NULL;
        if (!read_tensor(self->infer->inputs[i], &tensor, limit)) return 0;
        if (tensor.shape[0] > self->rows_limit || (rows && tensor.shape[0] != rows)) return 0;
        rows = tensor.shape[0];
        uint32_t column = fast_find_column(self, (fast_bytes){tensor.name.at, proto_size(&tensor.name)}, i);
        if (request->n_inputs == 1 && tensor.rank == 2 && tensor.shape[1] == n && (n > 1 || column == n)) {
            return read_matrix(self, &tensor, raw) ? rows : 0;
        }
        if (request->n_inputs != n || column == n || !fast_mark(self, column)) return 0;
        if (tensor.rank == 2 && tensor.shape[1] != 1) return 0;
        tensor.alone = 1;
        if (!read_column(self, &tensor, raw, column)) return 0;
    }
    return rows;
}

/* An output asked for by name, and nothing more said about it. */
static int read_output(fast_object *self, proto_cursor in, infer_request *request) {
    proto_cursor name;
    int tag;
    if (request->n_outputs == INFER_OUTPUTS || in.at == in.end || !proto_read_tag(&in, &tag)) return 0;
    if (tag != TAG(1, PROTO_BYTES) || !proto_read_bytes(&in, &name) || in.at != in.end) return 0;
    int wanted = is(name, "prediction") ? INFER_PREDICTION : INFER_PROBABILITIES;
    if (wanted == INFER_PROBABILITIES && (!is(name, "probabilities") || !self->n_labels)) return 0;
    if (request->n_outputs && request->outputs[0] == wanted) return 0; /* named twice: refused where there are words */
    request->outputs[request->n_outputs++] = wanted;
    return 1;
}

uint32_t infer_read(fast_object *self, proto_cursor in, infer_request *request) {
    enum { MODEL = 1, VERSION, ID, INPUT = 5, OUTPUT, RAW };
    struct infer_model *infer = self->infer;
    unsigned seen = 0;
    memset(request, 0, sizeof *request);
    while (in.at < in.end) {
        proto_cursor text;
        int tag, fits = 0;
        if (!proto_read_tag(&in, &tag) || (tag & 7) != PROTO_BYTES || !proto_read_bytes(&in, &text)) return 0;
        int field = tag >> 3;
        if (field <= ID && seen & 1u << field) return 0;
        seen |= 1u << field;
        if (field == MODEL) fits = same(text, infer->name);
        if (field == VERSION) fits = text.at == text.end || same(text, infer->version);
        if (field == ID) {
            fits = is_ascii(text) && proto_size(&text) <= FAST_LONGEST_ID;
            request->id = text;
        }
        if (field == INPUT && (fits = request->n_inputs < self->n_columns)) infer->inputs[request->n_inputs++] = text;
        if (field == OUTPUT) fits = read_output(self, text, request);
        if (field == RAW && (fits = request->n_raws < self->n_columns)) infer->raws[request->n_raws++] = text;
        if (!fits) return 0;
    }
    if (!(seen & 1u << MODEL) || (request->n_raws && request->n_raws != request->n_inputs)) return 0;
    return read_inputs(self, request);
}
