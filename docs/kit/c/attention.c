/* Attention as a program: one request from a line of stdin, one answer to a line of stdout.
 *
 *     cc -O2 -o attention attention.c -lm
 *     attention-ref check --exec ./attention
 */
#include <stdio.h>

#include "json.h"

typedef struct {
    Json *query, *key, *value, *mask, *bias;         /* arrays: objects with shape and values */
    Json *query_offset, *key_lengths, *window;       /* lists of numbers, or one number */
    int batch, heads, groups, queries, keys, head_size, value_size;
    double scale, softcap;
    bool causal;
} Call;

static Json *values(Json *array) { return field(array, "values")->items; }

static int axes(Json *array) { return field(array, "shape")->count; }

/* Return the size of an axis, counted from the last one, which is 1. */
static int size(Json *array, int axis) {
    Json *shape = field(array, "shape");
    return (int)shape->items[shape->count - axis].number;
}

/* Return an element of an array that broadcasts to (b,h,q,k), `b` being the index into all batch axes; NULL is no array. */
static Json *at(Json *array, const Call *call, int b, int h, int i, int j) {
    int place = 0, stride = 1;
    if (!array) return NULL;
    for (int axis = 1; axis <= axes(array); axis++) {
        int index = axis == 1 ? j : axis == 2 ? i : axis == 3 ? h : b % size(call->query, axis);
        if (axis > 3) b /= size(call->query, axis);
        if (size(array, axis) > 1) place += stride * index;
        stride *= size(array, axis);
    }
    return &values(array)[place];
}

/* Return the number for a batch row of a list, or the one number for all of them. */
static double of_row(Json *numbers, int b) {
    return numbers->kind == LIST && numbers->count > 1 ? numbers->items[b].number
         : numbers->kind == LIST ? numbers->items[0].number : numbers->number;
}

static bool is_visible(const Call *call, int b, int h, int i, int j) {
    double position = i + (call->query_offset ? of_row(call->query_offset, b) : 0);
    Json *mask = at(call->mask, call, b, h, i, j);
    if (mask && !mask->number) return false;
    if (call->key_lengths && j >= of_row(call->key_lengths, b)) return false;
    if (call->causal && j > position) return false;
    if (call->window && j < position - number_or(&call->window->items[0], INFINITY)) return false;
    if (call->window && j > position + number_or(&call->window->items[1], INFINITY)) return false;
    return true;
}

#define REAL double
#define NAMED(name) name##_double
#define EXP exp
#define LOG log
#define TANH tanh
#include "attend.h"
#undef REAL
#undef NAMED
#undef EXP
#undef LOG
#undef TANH
#define REAL float
#define NAMED(name) name##_float
#define EXP expf
#define LOG logf
#define TANH tanhf
#include "attend.h"

static bool is_one_of(const char *name, const char *const *names) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

/* Return an argument of a request that this program does not support, or NULL. */
static const char *lacking(Json *request) {
    static const char *const operations[] = {"attention", NULL}, *const dtypes[] = {"float64", "float32", NULL};
    static const char *const fields[] = {"id", "case", "operation", "dtype", "inputs", "options", "results", NULL};
    static const char *const arguments[] = {"query", "key", "value", "mask", "bias", "query_offset", "key_lengths",
        "causal", "window", "scale", "softcap", "return_weights", "return_log_sum_exp", NULL};
    Json *inputs = field(request, "inputs"), *options = field(request, "options");
    const char *operation = field(request, "operation")->string, *dtype = field(request, "dtype")->string;
    if (!is_one_of(operation, operations)) return operation;
    if (!is_one_of(dtype, dtypes)) return dtype;
    for (int i = 0; i < request->count; i++)
        if (!is_one_of(request->items[i].name, fields)) return request->items[i].name;
    for (int i = 0; i < inputs->count; i++)
        if (!is_one_of(inputs->items[i].name, arguments)) return inputs->items[i].name;
    for (int i = 0; i < options->count; i++)
        if (!is_one_of(options->items[i].name, arguments)) return options->items[i].name;
    return NULL;
}

static Call read_call(Json *request) {
    Json *inputs = field(request, "inputs"), *options = field(request, "options"), *causal = field(options, "causal");
    Json *offsets = field(inputs, "query_offset"), *lengths = field(inputs, "key_lengths");
    Call call = {0};
    call.query = field(inputs, "query"), call.key = field(inputs, "key"), call.value = field(inputs, "value");
    call.mask = field(inputs, "mask"), call.bias = field(inputs, "bias");
    call.query_offset = offsets ? field(offsets, "values") : field(options, "query_offset");
    call.key_lengths = lengths ? field(lengths, "values") : NULL;
    call.window = field(options, "window");
    call.causal = causal && causal->number;
    call.batch = 1;
    for (int axis = 4; axis <= axes(call.query); axis++) call.batch *= size(call.query, axis);
    call.heads = size(call.query, 3), call.groups = size(call.key, 3);
    call.queries = size(call.query, 2), call.keys = size(call.key, 2);
    call.head_size = size(call.query, 1), call.value_size = size(call.value, 1);
    call.scale = number_or(field(options, "scale"), 1 / sqrt(call.head_size));
    call.softcap = number_or(field(options, "softcap"), 0);
    return call;
}

/* Write a result: the shape of the query without its last axis, then `last` unless it is -1, and the values. */
static void write_result(const char *name, Json *query, int last, const double *numbers, int count) {
    printf("\"%s\": {\"shape\": [", name);
    for (int axis = axes(query); axis >= 2; axis--) printf("%s%d", axis < axes(query) ? ", " : "", size(query, axis));
    if (last >= 0) printf(", %d", last);
    printf("], \"values\": [");
    for (int i = 0; i < count; i++) {
        if (i) printf(", ");
        if (isnan(numbers[i])) printf("\"NaN\"");
        else if (isinf(numbers[i])) printf(numbers[i] > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        else printf("%.17g", numbers[i]);
    }
    printf("]}");
}

static void answer(Json *request) {
    const char *reason = lacking(request);
    printf("{\"id\": %.0f, ", field(request, "id")->number);
    if (reason) {
        printf("\"unsupported\": \"no %s\"}\n", reason);
        return;
    }
    Call call = read_call(request);
    Json *query = field(field(request, "inputs"), "query"), *wanted = field(request, "results");
    int rows = call.batch * call.heads * call.queries;
    double *output = calloc(rows * call.value_size + 1, sizeof(double));
    double *weights = calloc(rows * call.keys + 1, sizeof(double)), *sums = calloc(rows + 1, sizeof(double));
    if (strcmp(field(request, "dtype")->string, "float64") == 0) attend_double(&call, output, weights, sums);
    else attend_float(&call, output, weights, sums);

    printf("\"results\": {");
    for (int i = 0; i < wanted->count; i++) {
        const char *name = wanted->items[i].string;
        if (i) printf(", ");
        if (strcmp(name, "output") == 0) write_result(name, query, call.value_size, output, rows * call.value_size);
        else if (strcmp(name, "weights") == 0) write_result(name, query, call.keys, weights, rows * call.keys);
        else write_result(name, query, -1, sums, rows);
    }
    printf("}}\n");
    free(output);
    free(weights);
    free(sums);
}

int main(void) {
    char *line = NULL;
    size_t room = 0, length = 0;
    for (int letter; (letter = getchar()) != EOF;) {
        if (length + 1 >= room) line = realloc(line, room = 2 * room + 1024);
        if (letter != '\n') {
            line[length++] = (char)letter;
            continue;
        }
        line[length] = '\0';
        length = 0;
        char *start = line;
        Json request = read_json(&start);
        answer(&request);
        fflush(stdout);
        free_json(&request);
    }
    free(line);
    return 0;
}
