/* Attention in tiles of 64 keys with a running maximum and running sums, for float32 arrays in safetensors files.
 *
 *     cc -O2 -I docs/kit/c -o tiled tests/wrong_kernels/c/tiled.c -lm
 *     attention-ref judge --exec ./tiled --arrays safetensors
 *
 * -DMISTAKE=1 drops the partial last tile, -DMISTAKE=2 forgets to rescale the sum of the weights, -DMISTAKE=3 skips the
 * tile of the diagonal of causal calls for its last rows, and -DMISTAKE=4 multiplies whole vectors of 8 numbers only.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>

#include "json.h"

#ifndef MISTAKE
#define MISTAKE 0
#endif
#define KEYS 64

/* A file of safetensors: 8 bytes with the length of the header, the header, the tensors. */
typedef struct { char *bytes, *text; Json header; char *data; } File;

static File read_file(const char *path) {
    File file = {0};
    FILE *opened = fopen(path, "rb");
    fseek(opened, 0, SEEK_END);
    long size = ftell(opened);
    rewind(opened);
    file.bytes = malloc(size);
    if (fread(file.bytes, 1, size, opened) != (size_t)size) exit(1);
    fclose(opened);
    unsigned long long length;
    memcpy(&length, file.bytes, 8);
    file.text = calloc(length + 1, 1);
    memcpy(file.text, file.bytes + 8, length);
    char *at = file.text;
    file.header = read_json(&at);
    file.data = file.bytes + 8 + length;
    return file;
}

static const float *tensor(File *file, const char *name) {
    Json *offsets = field(field(&file->header, name), "data_offsets");
    return (const float *)(file->data + (long)offsets->items[0].number);
}

static int size(Json *array, int axis) { return (int)field(array, "shape")->items[axis].number; }

static void attend(const float *q, const float *k, const float *v, float *o, int d, int dv, int end) {
    float m = -INFINITY, total = 0, scale = 1 / sqrtf(d);
    for (int c = 0; c < dv; c++) o[c] = 0;
    for (int low = 0; low < end; low += KEYS) {
        int high = low + KEYS < end ? low + KEYS : end;
        if (MISTAKE == 1 && low > 0 && high - low < KEYS) break;
        float scores[KEYS], most = m;
        for (int j = low; j < high; j++) {
            float sum = 0;
            for (int c = 0; c < (MISTAKE == 4 ? d / 8 * 8 : d); c++) sum += q[c] * k[(long)j * d + c];
            scores[j - low] = sum * scale;
            most = fmaxf(most, scores[j - low]);
        }
        float rescale = expf(m - most);
        total *= MISTAKE == 2 ? 1 : rescale;
        for (int c = 0; c < dv; c++) o[c] *= rescale;
        for (int j = low; j < high; j++) {
            float weight = expf(scores[j - low] - most);
            total += weight;
            for (int c = 0; c < dv; c++) o[c] += weight * v[(long)j * dv + c];
        }
        m = most;
    }
    for (int c = 0; c < dv; c++) o[c] /= total;
}

static void write_file(const char *path, const float *output, int b, int h, int n, int dv) {
    char header[256];
    long bytes = 4L * b * h * n * dv;
    unsigned long long length = sprintf(header,
        "{\"output\":{\"dtype\":\"F32\",\"shape\":[%d,%d,%d,%d],\"data_offsets\":[0,%ld]}}", b, h, n, dv, bytes);
    while (length % 8) header[length++] = ' ';
    FILE *opened = fopen(path, "wb");
    fwrite(&length, 8, 1, opened);
    fwrite(header, 1, length, opened);
    fwrite(output, 1, bytes, opened);
    fclose(opened);
}

/* Return what of a request this program does not offer, or NULL. */
static const char *lacking(Json *request) {
    Json *inputs = field(request, "inputs"), *options = field(request, "options");
    if (strcmp(field(request, "dtype")->string, "float32")) return field(request, "dtype")->string;
    if (field(request, "results")->count != 1 || field(request, "cotangents")) return "no such result";
    for (int i = 0; i < inputs->count; i++)
        if (i > 2) return inputs->items[i].name;
    for (int i = 0; i < options->count; i++)
        if (strcmp(options->items[i].name, "causal")) return options->items[i].name;
    return NULL;
}

static void answer(Json *request) {
    Json *inputs = field(request, "inputs"), *files = field(request, "files");
    Json *query = field(inputs, "query"), *key = field(inputs, "key"), *value = field(inputs, "value");
    Json *causal = field(field(request, "options"), "causal");
    int b = size(query, 0), h = size(query, 1), n = size(query, 2), d = size(query, 3);
    int g = size(key, 1), keys = size(key, 2), dv = size(value, 3);
    File file = read_file(field(files, "request")->string);
    const float *q = tensor(&file, "query"), *k = tensor(&file, "key"), *v = tensor(&file, "value");
    float *output = malloc(sizeof(float) * b * h * n * dv);
    for (int head = 0; head < b * h; head++) {
        long group = head / h * g + head % h / (h / g);
        for (int i = 0; i < n; i++) {
            long row = (long)head * n + i;
            int end = causal && causal->number && i + 1 < keys ? i + 1 : keys;
            if (MISTAKE == 3 && end < keys && end > KEYS && end % KEYS > KEYS / 2) end = end / KEYS * KEYS;
            attend(q + row * d, k + group * keys * d, v + group * keys * dv, output + row * dv, d, dv, end);
        }
    }
    write_file(field(files, "answer")->string, output, b, h, n, dv);
    printf("{\"id\": %.0f, \"results\": [\"output\"]}\n", field(request, "id")->number);
    free(output);
    free_json(&file.header);
    free(file.text);
    free(file.bytes);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        char *at = line;
        Json request = read_json(&at);
        const char *reason = lacking(&request);
        if (reason) printf("{\"id\": %.0f, \"unsupported\": \"%s\"}\n", field(&request, "id")->number, reason);
        else answer(&request);
        fflush(stdout);
        free_json(&request);
    }
    return 0;
}
