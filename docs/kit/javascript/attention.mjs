// Attention as a program: one request from a line of stdin, one answer to a line of stdout.
//
//     attention-ref check --exec "node attention.mjs"
import { createInterface } from "node:readline";

const OFFERED = {
  operation: ["attention"],
  dtype: ["float64", "float32"],
  fields: ["id", "case", "operation", "dtype", "inputs", "options", "results"],
  arguments: [
    "query", "key", "value", "mask", "bias", "causal", "query_offset", "window", "key_lengths", "scale", "softcap",
    "return_weights", "return_log_sum_exp",
  ],
};

// Return the first name in a request that this program does not know.
function lacking({ operation, dtype, inputs, options, ...others }) {
  const unknown = (names, known) => names.find((name) => !known.includes(name));
  return (
    unknown([operation], OFFERED.operation) ??
    unknown([dtype], OFFERED.dtype) ??
    unknown(Object.keys(others), OFFERED.fields) ??
    unknown([...Object.keys(inputs), ...Object.keys(options)], OFFERED.arguments)
  );
}

// Return a function that reads an array at (b,h,i,j), to which it broadcasts; `b` counts through all batch axes.
function reader(array, batchShape) {
  return (b, h, i, j) => {
    const batch = batchShape.map((size, axis) => {
      const inner = batchShape.slice(axis + 1).reduce((product, each) => product * each, 1);
      return Math.floor(b / inner) % size;
    });
    const index = [...batch, h, i, j].slice(-array.shape.length);
    const place = array.shape.reduce((sum, size, axis) => sum * size + (size === 1 ? 0 : index[axis]), 0);
    return array.values[place];
  };
}

// Return a function that says whether key j is visible to query i of head h in batch row b.
function visibility({ mask, query_offset, key_lengths }, options, batchShape) {
  const isAllowed = mask ? reader(mask, batchShape) : () => true;
  const ofRow = (array, b) => array.values[array.shape.length ? b : 0];
  const [left, right] = options.window ?? [null, null];
  return (b, h, i, j) => {
    const position = i + (query_offset ? ofRow(query_offset, b) : (options.query_offset ?? 0));
    return (
      isAllowed(b, h, i, j) &&
      (!key_lengths || j < ofRow(key_lengths, b)) &&
      (!options.causal || j <= position) &&
      j >= position - (left ?? Infinity) &&
      j <= position + (right ?? Infinity)
    );
  };
}

// Return the weights of the visible scores (undefined marks a hidden one), and the logarithm of the denominator.
function softmax(scores, round) {
  const visible = scores.filter((score) => score !== undefined);
  if (visible.length === 0) return [scores.map(() => 0), -Infinity];
  const largest = visible.reduce((a, b) => Math.max(a, b));
  const exponentials = scores.map((score) => (score === undefined ? 0 : round(Math.exp(round(score - largest)))));
  const total = exponentials.reduce((sum, each) => round(sum + each));
  return [exponentials.map((each) => round(each / total)), round(largest + round(Math.log(total)))];
}

function attention({ dtype, inputs, options }) {
  const round = dtype === "float32" ? Math.fround : (number) => number; // after every operation
  const { query, key, value, bias } = inputs;
  const batchShape = query.shape.slice(0, -3);
  const [h, q, d] = query.shape.slice(-3);
  const [g, k] = key.shape.slice(-3);
  const v = value.shape.at(-1);
  const batch = batchShape.reduce((product, each) => product * each, 1);
  const isVisible = visibility(inputs, options, batchShape);
  const biasAt = bias && reader(bias, batchShape);
  const scale = round(options.scale ?? 1 / Math.sqrt(d));
  const output = [], weights = [], logSumExp = [];

  for (let b = 0; b < batch; b++)
    for (let head = 0; head < h; head++)
      for (let i = 0; i < q; i++) {
        const row = ((b * h + head) * q + i) * d;
        const group = (b * g + Math.floor(head / (h / g))) * k;
        const scores = Array.from({ length: k }, (_, j) => {
          if (!isVisible(b, head, i, j) || biasAt?.(b, head, i, j) === -Infinity) return undefined;
          let score = 0;
          for (let c = 0; c < d; c++)
            score = round(score + round(query.values[row + c] * key.values[(group + j) * d + c]));
          score = round(score * scale);
          if (options.softcap) score = round(options.softcap * round(Math.tanh(round(score / options.softcap))));
          return biasAt ? round(score + biasAt(b, head, i, j)) : score;
        });
        const [rowWeights, sum] = softmax(scores, round);
        weights.push(...rowWeights);
        logSumExp.push(sum);
        for (let c = 0; c < v; c++) {
          let total = 0;
          for (let j = 0; j < k; j++)
            if (scores[j] !== undefined) total = round(total + round(rowWeights[j] * value.values[(group + j) * v + c]));
          output.push(total);
        }
      }
  const shape = query.shape.slice(0, -1);
  return {
    output: { shape: [...shape, v], values: output },
    weights: { shape: [...shape, k], values: weights },
    log_sum_exp: { shape, values: logSumExp },
  };
}

// NaN and infinities are strings, because JSON has no such numbers.
const named = (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
const numbered = (_, value) => (["NaN", "Infinity", "-Infinity"].includes(value) ? Number(value) : value);

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line, numbered);
  const missing = lacking(request);
  const found = missing ? { unsupported: `no ${missing}` } : { results: {} };
  if (!missing) {
    const results = attention(request);
    for (const name of request.results) found.results[name] = results[name];
  }
  console.log(JSON.stringify({ id: request.id, ...found }, named));
}
