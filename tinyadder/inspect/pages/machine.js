"use strict";
// The machine of tinyadder/machine/transformer.py in double precision, keeping every intermediate value.
// A row is [bias, columns, weights]; columns null means 0, 1, 2, ...

const dot = (columns, weights, x) => {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k] * x[columns ? columns[k] : k];
  return sum;
};
const affine = (rows, x) => rows.map(([bias, columns, weights]) => bias + dot(columns, weights, x));
const addTo = (x, columns, weights, factor) => {
  for (let k = 0; k < weights.length; k++) x[columns ? columns[k] : k] += weights[k] * factor;
};

// Abramowitz and Stegun give erf to 1e-7 only; this series and continued fraction reach double precision.
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let term = z,
      sum = z;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return ((Math.sign(x) * 2) / Math.sqrt(Math.PI)) * sum;
  }
  let f = z;
  for (let n = 60; n >= 1; n--) f = z + n / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-z * z) / (f * Math.sqrt(Math.PI)));
}
const ACTIVATION = {
  relu: (v) => (v > 0 ? v : v === v ? 0 : v),
  gelu: (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)),
  silu: (v) => v / (1 + Math.exp(-v)),
};

function softmax(scores, one) {
  const highest = Math.max(...scores, one ? 0 : -Infinity);
  const raised = scores.map((s) => Math.exp(s - highest));
  const total = raised.reduce((a, b) => a + b, 0) + (one ? Math.exp(-highest) : 0);
  return { weights: raised.map((r) => r / total), nothing: one ? Math.exp(-highest) / total : 0 };
}

function rotated(rows, position, base) {
  const half = rows.length >> 1,
    out = rows.slice();
  for (let k = 0; k < half; k++) {
    const angle = position * Math.pow(base, -k / Math.max(half, 1)),
      c = Math.cos(angle),
      s = Math.sin(angle);
    out[k] = rows[k] * c - rows[k + half] * s;
    out[k + half] = rows[k + half] * c + rows[k] * s;
  }
  return out;
}

// What the waves of a head say of a distance; without waves nothing.
function waved(waves, distance, base) {
  const half = waves ? waves.length >> 1 : 0;
  let sum = 0;
  for (let k = 0; k < half; k++) {
    const angle = distance * Math.pow(base, -k / half);
    sum += waves[k] * Math.cos(angle) + waves[k + half] * Math.sin(angle);
  }
  return sum;
}

function normed(norm, x) {
  if (!norm) return x;
  const mean = norm.centered ? x.reduce((a, b) => a + b, 0) / x.length : 0;
  const square = x.reduce((a, b) => a + (b - mean) * (b - mean), 0) / x.length;
  const scale = 1 / Math.sqrt(square + 1e-6);
  return x.map((v, i) => (v - mean) * scale * (norm.gain ? norm.gain[i] : 1) + (norm.bias ? norm.bias[i] : 0));
}

// Everything the model computes on `tokens` (ids). A step is one sublayer: {layer, kind, before, read, added, sum, after,
// heads | units}: streams by position, `read` after a norm that comes before, `sum` ahead of one that comes after.
function forward(model, tokens) {
  const o = model.options,
    width = model.width;
  let x = tokens.map((token, i) => {
    const row = new Array(width).fill(0);
    addTo(row, ...model.embed[token], 1);
    placeRow(model, i).forEach((v, c) => (row[c] += v));
    return row;
  });
  const embedded = x,
    steps = [],
    blocks = [];
  for (let r = 0; r < o.repeat; r++) blocks.push(...model.blocks);
  blocks.forEach((block, layer) => {
    const o = block.options ?? model.options;
    for (const kind of ["attention", "mlp"]) {
      const part = block[kind];
      if (!part) continue;
      const before = x,
        read = o.post ? x : x.map((row) => normed(part.norm, row));
      const step = kind === "attention" ? attend(part, read, o) : units(part, read, o);
      const sum = x.map((row, i) => {
        const next = row.slice();
        step.added[i].forEach(([columns, weights, factor]) =>
          addTo(next, columns, weights, factor),
        );
        return next;
      });
      x = o.post ? sum.map((row) => normed(part.norm, row)) : sum;
      steps.push({ layer, kind, part, options: o, before, read, sum, after: x, ...step });
    }
  });
  const last = x.map((row) => normed(model.norm, row));
  const logits = last.map((row) => affine(model.rows, row).map((v) => model.sign * v));
  return { embedded, steps, stream: x, last, logits };
}

// What the table of positions adds to the stream at position i.
function placeRow(model, i) {
  const o = model.options;
  if (o.positions === "learned") return model.positions[i] ?? [];
  if (o.positions !== "sinusoidal") return [];
  return Array.from({ length: model.width }, (_, c) => {
    const angle = i / Math.pow(10000, (c - (c % 2)) / model.width);
    return c % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

function attend(part, x, o) {
  const added = x.map(() => []);
  const heads = part.heads.map((head) => {
    const turn = (rows) =>
      o.positions === "rotary" ? rows.map((r, i) => rotated(r, i, o.rotary_base)) : rows;
    const query = turn(x.map((row) => affine(head.query, row))),
      key = turn(x.map((row) => affine(head.key, row)));
    const value = x.map((row) => affine(head.value, row));
    const scale = o.scaled ? 1 / Math.sqrt(head.query.length) : 1;
    const at = x.map((_, i) => {
      const scores = [];
      for (let j = 0; j <= i; j++)
        scores.push(
          query[i].reduce((s, q, k) => s + q * scale * key[j][k], 0) +
            head.slope * (j - i) +
            waved(head.waves, i - j, o.rotary_base),
        );
      const { weights, nothing } = softmax(scores, o.softmax === "softmax1");
      const output = head.value.map((_, r) => weights.reduce((s, w, j) => s + w * value[j][r], 0));
      output.forEach((v, r) => added[i].push([head.write[r][0], head.write[r][1], v]));
      return { query: query[i], scores, weights, nothing, output };
    });
    return { at, key, value, write: head.write, slope: head.slope };
  });
  return { heads, added };
}

function units(part, x, o) {
  const added = x.map(() => []);
  const at = x.map((row, i) => {
    const gate = affine(part.gate, row),
      up = o.gated ? affine(part.up, row) : gate.map(() => 1);
    const output = gate.map((g, n) => ACTIVATION[o.activation](g) * up[n]);
    output.forEach((v, n) => v !== 0 && added[i].push([part.down[n][0], part.down[n][1], v]));
    return { gate, up, output };
  });
  return { units: at, added };
}

function argmax(logits) {
  let best = 0;
  logits.forEach((v, k) => {
    if (v > logits[best] || v !== v) best = k;
  });
  return best;
}

// Greedy decoding, the whole text again for every token: simple, and fast enough for one text. A tagger answers in one
// pass, one token for each position of the prompt from `model.reads` on.
function decode(model, prompt) {
  const tokens = prompt.map((t) => model.vocabulary.indexOf(t)),
    context = model.options.context || Infinity;
  const end = model.end === null ? -1 : model.vocabulary.indexOf(model.end),
    chosen = [];
  const first = model.reads ?? tokens.length - 1;
  if (model.reads !== null) {
    const run = forward(model, tokens);
    for (let i = first; i < tokens.length; i++) chosen.push(model.outputs[argmax(run.logits[i])]);
    return { tokens, first, chosen, answer: chosen.map((t) => model.vocabulary[t]), run };
  }
  for (let n = 0; n < model.answer_length && tokens.length <= context; n++) {
    chosen.push(model.outputs[argmax(forward(model, tokens).logits[tokens.length - 1])]);
    if (chosen[n] === end || n === model.answer_length - 1) break;
    tokens.push(chosen[n]);
  }
  return {
    tokens,
    first,
    chosen,
    answer: chosen.map((t) => model.vocabulary[t]),
    run: forward(model, tokens),
  };
}

// The first answer token that is chosen wrongly when the right ones before it are given; -1 if none is. One pass.
function firstWrong(model, prompt, right) {
  const text = model.reads === null ? [...prompt, ...right.slice(0, -1)] : prompt;
  const { logits } = forward(
    model,
    text.map((t) => model.vocabulary.indexOf(t)),
  );
  const first = model.reads ?? prompt.length - 1;
  return right.findIndex(
    (t, n) => model.vocabulary[model.outputs[argmax(logits[first + n])]] !== t,
  );
}

// The readout as one matrix [bias, null, weights]: stored rows, tied embedding rows and wiring, from left to right.
function connect(model) {
  if (model.circle) {
    const [radius, first, step] = model.circle.numbers,
      row = (angle) => [
        [0, 1],
        [radius * Math.cos(angle), radius * Math.sin(angle)],
      ];
    model.embed = model.circle.places.map((place) => row(first + place * step));
  }
  const { unembedding, bias, tied, wiring } = model.readout,
    dense = ([, columns, weights]) => {
      const row = new Array(model.width).fill(0);
      addTo(row, columns, weights, 1);
      return row;
    };
  const parts = [
    unembedding?.map(dense),
    tied && model.outputs.map((t) => dense([0, ...model.embed[t]])),
    wiring?.map(dense),
  ];
  const sum = parts
    .filter(Boolean)
    .reduce((a, b) => a.map((row, o) => row.map((w, c) => w + b[o][c])));
  model.rows = sum.map((row, o) => [bias ? bias[o] : 0, null, row]);
  return model;
}

// float32 models are written with as few digits as tell them apart; reading them rounds to float32 again.
function load(model) {
  const round = (v) =>
    typeof v === "number" ? Math.fround(v) : Array.isArray(v) ? v.map(round) : v;
  const inside = (o) => {
    for (const k in o) if (Array.isArray(o[k])) o[k] = round(o[k]);
  };
  if (model.float32) {
    for (const key of ["embed", "positions"]) model[key] = round(model[key]);
    inside(model.readout);
    if (model.norm) inside(model.norm);
    if (model.circle) inside(model.circle);
    for (const block of model.blocks)
      for (const part of [block.attention, block.mlp]) {
        if (!part) continue;
        inside(part);
        if (part.norm) inside(part.norm);
        for (const head of part.heads || []) inside(head);
      }
  }
  return connect(model);
}
