/* Bodies of ordinary V1 and V2 requests into encoded rows: the same numbers as serving.schema.encode, or nothing. */
#include "fast.h"

#include <math.h>
#include <string.h>

#define FLOAT32_MAX FAST_FLOAT32_MAX
#define EXACT_INTEGERS 9007199254740992.0 /* 2^53: up to here a double and an integer compare as Python compares them */
#define UNSEEN (-1.0)

typedef enum { ANY, REAL, INTEGER, TRUTH, TEXT } token;

typedef struct fast_datatype {
    const char *name;
    token token;
    double least, most;
} datatype;

static const datatype datatypes[] = {
    {"FP64", REAL, 0, 0},
    {"FP32", REAL, 0, 0},
    {"INT64", INTEGER, -EXACT_INTEGERS, EXACT_INTEGERS},
    {"INT32", INTEGER, -2147483648.0, 2147483647.0},
    {"BOOL", TRUTH, 0, 0},
    {"BYTES", TEXT, 0, 0},
};

static int equal(fast_bytes text, fast_bytes bytes) {
    return text.size == bytes.size && memcmp(text.start, bytes.start, text.size) == 0;
}

static int is(json_text text, const char *word) {
    return text.size == strlen(word) && memcmp(text.start, word, text.size) == 0;
}

int fast_take_code(const fast_column *column, double number, double *value) {
    if (fabs(number) > EXACT_INTEGERS) return 0;
    *value = UNSEEN;
    for (uint32_t i = 0; i < column->n_categories; i++) *value = column->numbers[i] == number ? i : *value;
    return 1;
}

int fast_take_text(const fast_column *column, fast_bytes text, int ascii, double *value) {
    for (uint32_t i = 0; i < column->n_categories; i++) {
        if (equal(text, column->texts[i])) {
            *value = i;
            return 1;
        }
    }
    *value = UNSEEN;
    return ascii && text.size; /* unknown bytes might not even be UTF-8; no text at all is a missing value */
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date
 * algorithms": years start in March, in eras of 400). */
static double days_from_civil(int year, int month, int day) {
    int shifted = month <= 2 ? year - 1 : year, era = shifted / 400, of_era = shifted - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097.0 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Only YYYY-MM-DD; other forms of ISO 8601 take the generic path. */
int fast_take_date(fast_bytes text, double *value) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int parts[3] = {0, 0, 0}, part = 0;
    if (text.size != 10 || text.start[4] != '-' || text.start[7] != '-') return 0;
    for (int i = 0; i < 10; i++) {
        if (i == 4 || i == 7) {
            part++;
        } else if (text.start[i] >= '0' && text.start[i] <= '9') {
            parts[part] = parts[part] * 10 + (text.start[i] - '0');
        } else {
            return 0;
        }
    }
    int year = parts[0], month = parts[1], day = parts[2];
    if (year < 1 || month < 1 || month > 12 || day < 1) return 0;
    int leap = month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    if (day > lengths[month - 1] + leap) return 0;
    *value = days_from_civil(year, month, day);
    return 1;
}

static int read_truth(json_cursor *in, double *value) {
    char next = json_peek(in);
    *value = next == 't';
    return next == 't' ? json_word(in, "true", 4) : next == 'f' && json_word(in, "false", 5);
}

/* One value of a column; `type` further restricts it to what a tensor's datatype may hold. */
static int read_value(const fast_column *column, json_cursor *in, const datatype *type, double *value) {
    json_number number;
    json_text text;
    char next = json_peek(in);
    if (next >= '0' && next <= '9' && column->kind == FAST_NUMBER && (!type || type->token == REAL)) {
        if (!json_read_number(in, &number)) return 0;
        *value = number.value;
        return number.value <= FLOAT32_MAX;
    }
    if (next == 'n') {
        *value = NAN;
        return json_word(in, "null", 4);
    }
    if (next == '"') {
        if (type && type->token != TEXT) return 0;
        if (!json_string(in, &text)) return 0;
        fast_bytes bytes = {text.start, text.size};
        if (column->kind == FAST_TEXT) return fast_take_text(column, bytes, text.ascii, value);
        return column->kind == FAST_DATE && fast_take_date(bytes, value);
    }
    if (next == 't' || next == 'f') {
        return (!type || type->token == TRUTH) && column->kind == FAST_BOOLEAN && read_truth(in, value);
    }
    if (column->kind == FAST_TEXT || column->kind == FAST_DATE || (type && type->token >= TRUTH)) return 0;
    if (!json_read_number(in, &number)) return 0;
    *value = number.value;
    if (type && type->token == INTEGER) {
        if (!number.integer || !(number.value >= type->least && number.value <= type->most)) return 0;
    }
    if (column->kind == FAST_CODE) return fast_take_code(column, number.value, value);
    if (column->kind == FAST_BOOLEAN) return number.value == 0.0 || number.value == 1.0;
    return fabs(number.value) <= FLOAT32_MAX;
}

static int read_list(fast_object *self, json_cursor *in, const datatype *type, double *row) {
    if (!json_take(in, '[')) return 0;
    for (uint32_t c = 0; c < self->n_columns; c++) {
        if (c && !json_take(in, ',')) return 0;
        if (!read_value(&self->columns[c], in, type, row + c)) return 0;
    }
    return json_take(in, ']');
}

/* The column of a name, looked for at `guess` first; n_columns when there is none. */
uint32_t fast_find_column(const fast_object *self, fast_bytes name, uint32_t guess) {
    if (guess < self->n_columns && equal(name, self->columns[guess].name)) return guess;
    for (uint32_t c = 0; c < self->n_columns; c++) {
        if (equal(name, self->columns[c].name)) return c;
    }
    return self->n_columns;
}

/* Note that a row or request names a column; 0 when it did before. */
int fast_mark(fast_object *self, uint32_t column) {
    if (self->seen[column] == self->stamp) return 0;
    self->seen[column] = self->stamp;
    return 1;
}

void fast_start_marks(fast_object *self) {
    if (++self->stamp == 0) {
        memset(self->seen, 0, self->n_columns * sizeof *self->seen);
        self->stamp = 1;
    }
}

static int read_object(fast_object *self, json_cursor *in, double *row) {
    if (!json_take(in, '{')) return 0;
    fast_start_marks(self);
    for (uint32_t i = 0; i < self->n_columns; i++) {
        json_text name;
        if ((i && !json_take(in, ',')) || !json_string(in, &name) || !json_take(in, ':')) return 0;
        uint32_t column = fast_find_column(self, (fast_bytes){name.start, name.size}, i);
        if (column == self->n_columns || !fast_mark(self, column)) return 0;
        if (!read_value(&self->columns[column], in, NULL, row + column)) return 0;
    }
    return json_take(in, '}');
}

uint32_t fast_read_v1(fast_object *self, json_cursor *in) {
    uint32_t rows = 0;
    json_text key;
    if (!json_take(in, '{') || !json_string(in, &key) || !is(key, "instances")) return 0;
    if (!json_take(in, ':') || !json_take(in, '[')) return 0;
    do {
        if (rows == self->rows_limit) return 0;
        double *row = self->rows + (size_t)rows++ * self->n_columns;
        if (!(json_peek(in) == '{' ? read_object(self, in, row) : read_list(self, in, NULL, row))) return 0;
    } while (json_take(in, ','));
    if (!json_take(in, ']') || !json_take(in, '}')) return 0;
    return json_peek(in) == 0 && in->at == in->end ? rows : 0;
}

static int read_shape(json_cursor *in, fast_tensor *tensor) {
    if (tensor->rank || !json_take(in, '[') || !json_count(in, &tensor->shape[0])) return 0;
    tensor->rank = 1;
    if (json_take(in, ',')) {
        if (!json_count(in, &tensor->shape[1])) return 0;
        tensor->rank = 2;
    }
    return json_take(in, ']');
}

static int read_datatype(json_cursor *in, fast_tensor *tensor) {
    json_text name;
    if (tensor->type || !json_string(in, &name)) return 0;
    for (size_t i = 0; i < sizeof datatypes / sizeof *datatypes; i++) {
        if (is(name, datatypes[i].name)) tensor->type = &datatypes[i];
    }
    return tensor->type != NULL;
}

/* The fields of a tensor up to its data, which has to come last. */
static int read_tensor_head(json_cursor *in, fast_tensor *tensor) {
    memset(tensor, 0, sizeof *tensor);
    if (!json_take(in, '{')) return 0;
    for (;;) {
        json_text key;
        if (!json_string(in, &key) || !json_take(in, ':')) return 0;
        if (is(key, "data")) return tensor->name.start && tensor->rank && tensor->type;
        if (is(key, "name")) {
            if (tensor->name.start || !json_string(in, &tensor->name)) return 0;
        } else if (is(key, "shape")) {
            if (!read_shape(in, tensor)) return 0;
        } else if (!is(key, "datatype") || !read_datatype(in, tensor)) {
            return 0;
        }
        if (!json_take(in, ',')) return 0;
    }
}

/* The first tensor up to its data, where it is the same as in an earlier request. */
static int recall_tensor(const fast_tensor_memory *memory, json_cursor *in, fast_tensor *tensor) {
    if (!memory->size || (size_t)(in->end - in->at) < memory->size) return 0;
    if (memcmp(in->at, memory->bytes, memory->size) != 0) return 0;
    *tensor = memory->read;
    tensor->name.start = in->at + memory->name;
    in->at += memory->size;
    return 1;
}

static int read_first_tensor(fast_tensor_memory *memory, json_cursor *in, fast_tensor *tensor) {
    if (recall_tensor(memory, in, tensor)) return 1;
    const char *start = in->at;
    if (!read_tensor_head(in, tensor)) return 0;
    size_t size = (size_t)(in->at - start);
    if (size <= FAST_LONGEST_TENSOR) {
        *memory = (fast_tensor_memory){size, (size_t)(tensor->name.start - start), *tensor, {0}};
        memcpy(memory->bytes, start, size);
    }
    return 1;
}

static int read_matrix(fast_object *self, json_cursor *in, const fast_tensor *tensor) {
    if (!json_take(in, '[')) return 0;
    int nested = json_peek(in) == '[';
    for (uint32_t i = 0; i < tensor->shape[0]; i++) {
        double *row = self->rows + (size_t)i * self->n_columns;
        if (nested) {
            if ((i && !json_take(in, ',')) || !read_list(self, in, tensor->type, row)) return 0;
            continue;
        }
        for (uint32_t c = 0; c < self->n_columns; c++) {
            if (i + c && !json_take(in, ',')) return 0;
            if (!read_value(&self->columns[c], in, tensor->type, row + c)) return 0;
        }
    }
    return json_take(in, ']') && json_take(in, '}');
}

static int read_column(fast_object *self, json_cursor *in, const fast_tensor *tensor, uint32_t column) {
    if (!json_take(in, '[')) return 0;
    int nested = tensor->rank == 2 && json_peek(in) == '[';
    for (uint32_t i = 0; i < tensor->shape[0]; i++) {
        double *value = self->rows + (size_t)i * self->n_columns + column;
        if (i && !json_take(in, ',')) return 0;
        if (nested && !json_take(in, '[')) return 0;
        if (!read_value(&self->columns[column], in, tensor->type, value)) return 0;
        if (nested && !json_take(in, ']')) return 0;
    }
    return json_take(in, ']') && json_take(in, '}');
}

static uint32_t read_inputs(fast_object *self, json_cursor *in) {
    uint32_t rows = 0;
    if (!json_take(in, '[')) return 0;
    fast_start_marks(self);
    for (uint32_t i = 0; i < self->n_columns; i++) {
        fast_tensor tensor;
        if (i && !json_take(in, ',')) return 0;
        if (!(i ? read_tensor_head(in, &tensor) : read_first_tensor(&self->tensor_memory, in, &tensor))) return 0;
        if (tensor.shape[0] > self->rows_limit || (rows && tensor.shape[0] != rows)) return 0;
        rows = tensor.shape[0];
        uint32_t column = fast_find_column(self, (fast_bytes){tensor.name.start, tensor.name.size}, i);
        if (i == 0 && tensor.rank == 2 && tensor.shape[1] == self->n_columns && (self->n_columns > 1 || column == 1)) {
            return tensor.name.ascii && read_matrix(self, in, &tensor) && json_take(in, ']') ? rows : 0;
        }
        if (column == self->n_columns || !fast_mark(self, column)) return 0;
        if (tensor.rank == 2 && tensor.shape[1] != 1) return 0;
        if (!read_column(self, in, &tensor, column)) return 0;
    }
    return json_take(in, ']') ? rows : 0;
}

/* Whether a body repeats the name of the model, as KServe's clients do; answers begin with the same name. */
static int is_own_name(const fast_object *self, json_text name) {
    static const char before[] = "{\"model_name\":\"";
    size_t start = sizeof before - 1;
    return start + name.size < self->v2_head.size && memcmp(self->v2_head.start, before, start) == 0 &&
           memcmp(self->v2_head.start + start, name.start, name.size) == 0 &&
           self->v2_head.start[start + name.size] == '"';
}

uint32_t fast_read_v2(fast_object *self, json_cursor *in, json_text *id) {
    enum { NAME = 1, PARAMETERS = 2 };
    uint32_t rows = 0;
    unsigned given = 0;
    json_text name;
    id->start = NULL;
    if (!json_take(in, '{')) return 0;
    do {
        json_text key;
        if (!json_string(in, &key) || !json_take(in, ':')) return 0;
        if (is(key, "model_name") && !(given & NAME)) {
            given |= NAME;
            if (!json_string(in, &name) || !is_own_name(self, name)) return 0;
        } else if (is(key, "parameters") && !(given & PARAMETERS)) {
            given |= PARAMETERS;
            if (!json_take(in, '{') || !json_take(in, '}')) return 0;
        } else if (is(key, "id") && !id->start) {
            if (!json_string(in, id) || !id->ascii || id->size > FAST_LONGEST_ID) return 0;
        } else if (is(key, "inputs") && !rows) {
            rows = read_inputs(self, in);
            if (!rows) return 0;
        } else {
            return 0;
        }
    } while (json_take(in, ','));
    if (!json_take(in, '}')) return 0;
    return json_peek(in) == 0 && in->at == in->end ? rows : 0;
}
