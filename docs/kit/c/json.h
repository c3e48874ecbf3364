/* A small JSON reader: one line in, a tree of values out. It trusts that the text is JSON. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef enum { NOTHING, TRUTH, NUMBER, STRING, LIST, OBJECT } Kind;

typedef struct Json {
    Kind kind;
    double number;       /* of a NUMBER; 0 or 1 of a TRUTH; NaN and infinities of their names */
    char *string;        /* of a STRING */
    char *name;          /* in an OBJECT */
    struct Json *items;  /* of a LIST or an OBJECT */
    int count;
} Json;

static void skip(char **at) {
    while (**at == ' ' || **at == ',' || **at == ':' || **at == '\t' || **at == '\n' || **at == '\r') (*at)++;
}

/* Cut a string out of the text, in place. An escaped character stays as it is, without its backslash. */
static char *read_string(char **at) {
    char *start = ++*at, *end = start;
    for (; **at != '"'; (*at)++) {
        if (**at == '\\') (*at)++;
        *end++ = **at;
    }
    (*at)++;
    *end = '\0';
    return start;
}

static Json read_json(char **at) {
    Json value = {0};
    skip(at);
    if (**at == '{' || **at == '[') {
        char closing = **at == '{' ? '}' : ']';
        value.kind = **at == '{' ? OBJECT : LIST;
        for ((*at)++, skip(at); **at != closing; skip(at)) {
            char *name = value.kind == OBJECT ? read_string(at) : NULL;
            if ((value.count & (value.count - 1)) == 0)  /* grow at every power of two */
                value.items = realloc(value.items, (value.count ? 2 * value.count : 1) * sizeof(Json));
            value.items[value.count] = read_json(at);
            value.items[value.count++].name = name;
        }
        (*at)++;
    } else if (**at == '"') {
        value.kind = STRING;
        value.string = read_string(at);
        value.number = strcmp(value.string, "NaN") == 0 ? NAN : value.string[0] == '-' ? -INFINITY : INFINITY;
    } else if (**at == 't' || **at == 'f' || **at == 'n') {
        value.kind = **at == 'n' ? NOTHING : TRUTH;
        value.number = **at == 't';
        *at += **at == 'f' ? 5 : 4;
    } else {
        value.kind = NUMBER;
        value.number = strtod(*at, at);
    }
    return value;
}

static void free_json(Json *value) {
    for (int i = 0; i < value->count; i++) free_json(&value->items[i]);
    free(value->items);
}

/* Return a field of an object, or NULL where it has none or there is no object. */
static Json *field(Json *object, const char *name) {
    for (int i = 0; object && i < object->count; i++)
        if (strcmp(object->items[i].name, name) == 0) return &object->items[i];
    return NULL;
}

static double number_or(Json *value, double otherwise) {
    return value && value->kind == NUMBER ? value->number : otherwise;
}
