"use strict";
// The second checker: does a certificate prove a written program right on every problem? By the rules of docs/proofs.md,
// in another language than the first (verify/certify/check), with nothing but integers (BigInt).
//
//     node checker.js FOLDER [CERTIFICATE]        exit code 0 proved, 1 rejected, 2 usage
//
// In a page: `for (const progress of checker(weights, description, certificate))`; see `checker` at the end.
const Check = (() => {
  class Rejected extends Error {}
  const need = (fact, otherwise) => {
    if (!fact) throw new Rejected(otherwise);
  };

  // ---- intervals: [low, high] in units of 2^-900, rounded outward ---------------------------------

  const F = 900n, ONE = 1n << F, NOTHING = [0n, 0n], UNITY = [ONE, ONE];
  const NUMERICS = {
    arithmetic: "IEEE binary64, round to nearest; products, sums, quotients correctly rounded",
    sums: "in any order and tree, with or without fused multiply-add: inner products with bias, and the residual stream"
      + " with all head values or all hidden units added to it",
    readout: "unembedding, then tied embedding rows, then wiring are added up first, in this order",
    exp: "|fl(exp x) - exp x| <= 2^-51 exp x; exp(-inf) = 0",
    underflow: "gradual or flushed to zero",
    overflow: "none, checked by magnitudes",
    programs: "torch eager (whole texts, cached, batched), torch.compile, ONNX, explorer page, submission, hub class",
    outside: "float32, TF32, float64 products emulated from narrower ones, Strassen-like products",
  };
  const least = (a, b) => (b < a ? b : a), most = (a, b) => (b > a ? b : a);
  const up = (x, bits) => -(-x >> bits); // x / 2^bits, rounded up; x >> bits rounds down
  const floor = (a, b) => (a >= 0n ? a / b : -((b - 1n - a) / b)); // a / b for b > 0
  const bits = (x) => { // of |x|
    const hex = (x < 0n ? -x : x).toString(16);
    return hex === "0" ? 0 : 4 * hex.length - Math.clz32(parseInt(hex[0], 16)) + 28;
  };
  const isPoint = (a) => a[0] === a[1], isZero = (a) => a[0] === 0n && a[1] === 0n;

  const VIEW = new DataView(new ArrayBuffer(8));
  const parts = (x) => { // x = sign * n * 2^e, n an integer
    VIEW.setFloat64(0, x);
    const raw = VIEW.getBigUint64(0), biased = Number(raw >> 52n) & 2047, fraction = raw & ((1n << 52n) - 1n);
    need(biased !== 2047, "a number is not finite");
    return { negative: raw >> 63n === 1n, biased, fraction, n: biased ? fraction | (1n << 52n) : fraction,
      e: BigInt(Math.max(biased, 1) - 1075) };
  };
  const known = new Map();
  function exact(x) {
    if (!known.has(x)) {
      const { negative, n, e } = parts(x), signed = negative ? -n : n, shift = F + e;
      known.set(x, shift >= 0n ? [signed << shift, signed << shift] : [signed >> -shift, up(signed, -shift)]);
    }
    return known.get(x);
  }
  const exponent = (x) => { // the least e with |x| < 2^e
    const { n, e } = parts(x);
    return n === 0n ? 0 : bits(n) + Number(e);
  };
  const powerOfTwo = (x) => {
    const { n } = parts(x);
    return n !== 0n && (n & (n - 1n)) === 0n;
  };

  const add = (a, b) => [a[0] + b[0], a[1] + b[1]], neg = (a) => [-a[1], -a[0]];
  const size = (a) => most(-a[0], a[1]), wider = (a, r) => [a[0] - r, a[1] + r];
  const join = (list) => list.reduce((a, b) => [least(a[0], b[0]), most(a[1], b[1])]);
  const meet = (a, b) => [most(a[0], b[0]), least(a[1], b[1])];
  function mul(a, b) {
    const ends = isPoint(a) ? [a[0] * b[0], a[0] * b[1]] : isPoint(b) ? [a[0] * b[0], a[1] * b[0]]
      : [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]];
    return [ends.reduce(least) >> F, up(ends.reduce(most), F)];
  }
  function over(a, b) {
    need(b[0] > 0n, "a divisor may be zero");
    return [floor(a[0] << F, b[a[0] >= 0n ? 1 : 0]), -floor(-a[1] << F, b[a[1] >= 0n ? 0 : 1])];
  }

  // ---- what binary64 makes of an exact result -----------------------------------------------------

  const UNIT = ONE >> 53n, EXP = ONE >> 51n;
  const spread = (a, relative) => mul(a, [ONE - relative, ONE + relative]);
  const gamma = (n) => (n > 0 ? -floor(-(BigInt(n) << F), (1n << 53n) - BigInt(n)) : 0n);
  const once = (a) => wider(spread(a, UNIT), 1n);
  function nearest(a) { // of a point the double next to it, ties to even
    if (!isPoint(a)) return once(a);
    const x = a[0], n = x < 0n ? -x : x, drop = BigInt(Math.max(0, bits(n) - 53));
    if (drop === 0n) return a;
    const half = 1n << (drop - 1n), rest = n & ((1n << drop) - 1n);
    let kept = n >> drop;
    if (rest > half || (rest === half && kept & 1n)) kept += 1n;
    need(bits(kept << drop) <= 1924, "a number overflows");
    return x < 0n ? [-(kept << drop), -(kept << drop)] : [kept << drop, kept << drop];
  }
  const rounding = (terms, unrounded, magnitude) =>
    terms ? up(gamma(terms - (unrounded ? 1 : 0)) * magnitude, F) + BigInt(terms) : 0n;
  function roundedSum(products, unrounded) {
    const left = products.filter((p) => !isZero(p)), total = left.reduce(add, NOTHING);
    const magnitude = left.reduce((sum, p) => sum + size(p), 0n);
    if (left.every(isPoint)) {
      const grid = left.map(([x]) => x & -x).reduce((a, b) => (a && a < b ? a : b), 0n); // a power of two in all
      if (!left.length || magnitude < grid << 53n) return total;
      if (left.length === 1 || (left.length === 2 && left.every((p) => nearest(p)[0] === p[0]))) return nearest(total);
    }
    return wider(total, rounding(left.length, unrounded, magnitude));
  }

  // exp x = 2^-k e^r, r = x + k ln 2, |r| < 0.35; e^r = (e^(r / 256))^256 by its series, in units of 2^-P. The error of
  // ln 2 (below 2^10 units) counts k < 2^11 times; the series loses below 2^7, and each squaring doubles what is lost
  // and loses one: below 2^40 units altogether, far less than one of 2^-F.
  const P = F + 128n;
  const LN2 = (() => { // 2 artanh(1/3) = 2 (1/3 + 1/(3 3^3) + 1/(5 3^5) + ..)
    let power = (2n << P) / 3n, sum = 0n;
    for (let n = 1n; power; n += 2n, power /= 9n) sum += power / n;
    return sum;
  })();
  function expOf(x) {
    need(x <= 0n, "an exponent is positive");
    if (x < -(F << F)) return [0n, 1n];
    const scaled = x << (P - F), k = floor(-scaled + (LN2 >> 1n), LN2), r = (scaled + k * LN2) >> 8n;
    let term = 1n << P, sum = term;
    for (let n = 1n; term !== 0n && term !== -1n; n++) sum += term = floor((term * r) >> P, n);
    for (let m = 0; m < 8; m++) sum = (sum * sum) >> P;
    const found = sum >> (k + P - F);
    return [found - 1n, found + 2n];
  }
  const exponentials = new Map();
  function exp(a) {
    const key = `${a[0].toString(16)},${a[1].toString(16)}`;
    if (!exponentials.has(key)) {
      if (exponentials.size > 20000) exponentials.clear();
      exponentials.set(key, wider(spread([expOf(a[0])[0], expOf(a[1])[1]], EXP), 1n));
    }
    return exponentials.get(key);
  }

  // ---- forms: c + sum_j table_j(token at j) + sum_k alpha_k symbol_k ------------------------------

  class Form {
    constructor(c = NOTHING, tables = new Map(), symbols = new Map()) {
      Object.assign(this, { c, tables, symbols });
    }
    get constant() { return !this.tables.size && !this.symbols.size; }
    get zero() { return this.constant && isZero(this.c); }
    only(i) { return !this.symbols.size && (!this.tables.size || (this.tables.size === 1 && this.tables.has(i))); }
    plus(other) {
      const tables = new Map(this.tables), symbols = new Map(this.symbols);
      for (const [p, table] of other.tables) {
        const mine = tables.get(p);
        tables.set(p, mine ? new Map([...table].map(([t, b]) => [t, add(mine.get(t), b)])) : table);
      }
      for (const [s, alpha] of other.symbols) {
        const sum = add(symbols.get(s) ?? NOTHING, alpha);
        if (isZero(sum)) symbols.delete(s);
        else symbols.set(s, sum);
      }
      return new Form(add(this.c, other.c), tables, symbols);
    }
    times(factor) {
      if (isZero(factor)) return new Form();
      if (factor[0] === ONE && factor[1] === ONE) return this;
      const scale = (entries) => new Map([...entries].map(([k, x]) => [k, mul(x, factor)]));
      return new Form(mul(this.c, factor), new Map([...this.tables].map(([p, t]) => [p, scale(t)])), scale(this.symbols));
    }
    wider(radius) { return new Form(wider(this.c, radius), this.tables, this.symbols); }
    at(i, token) {
      if (!this.tables.has(i)) return this;
      const rest = new Map(this.tables);
      rest.delete(i);
      return new Form(add(this.c, this.tables.get(i).get(token)), rest, this.symbols);
    }
    map(rule) { // of a form with one table at most and no symbol
      for (const [i, table] of this.tables) return tabulated(i, [...table].map(([t, b]) => [t, rule(add(this.c, b))]));
      return new Form(rule(this.c));
    }
  }
  function tabulated(i, entries) {
    const [[, first]] = entries;
    if (entries.every(([, x]) => x[0] === first[0] && x[1] === first[1])) return new Form(first);
    return new Form(NOTHING, new Map([[i, new Map(entries)]]));
  }
  function merged(i, cases) { // [token at i, form]: constants become a table, tables and symbols hulls
    if (cases.length === 1) return cases[0][1];
    const found = tabulated(i, cases.map(([t, form]) => [t, form.c])), forms = cases.map(([, form]) => form);
    for (const p of new Set(forms.flatMap((f) => [...f.tables.keys()]))) {
      const tokens = [...forms.find((f) => f.tables.has(p)).tables.get(p).keys()];
      found.tables.set(p, new Map(tokens.map((t) => [t, join(forms.map((f) => f.tables.get(p)?.get(t) ?? NOTHING))])));
    }
    for (const s of new Set(forms.flatMap((f) => [...f.symbols.keys()])))
      found.symbols.set(s, join(forms.map((f) => f.symbols.get(s) ?? NOTHING)));
    return found;
  }

  // ---- the forward pass on forms ------------------------------------------------------------------

  class OpenSign extends Rejected {}
  const ATTENTION = ["weights", "mixed"], ALL = [...ATTENTION, "before", "row", "middle", "unit"];
  const name = (...key) => JSON.stringify(key);

  class View { // the numbers at the query `position` for the texts of a branch; the base has those of all other positions
    constructor(model, texts, position = -1, base = null) {
      Object.assign(this, { model, texts, position, base: base ?? this });
      this.fixed = { tokens: new Map(), states: new Map(), phases: new Map() };
      this.ranges = new Map();
      this.definitions = new Map();
      this.memo = new Map(ALL.map((kind) => [kind, new Map()]));
    }
    part(kind, key, value, keep = ATTENTION) { // with one more of its tokens, states or phases fixed
      const found = new View(this.model, this.texts, this.position, this.base);
      for (const k in this.fixed) found.fixed[k] = new Map(this.fixed[k]);
      if (kind) found.fixed[kind].set(key, value);
      found.ranges = new Map(this.ranges);
      found.definitions = new Map(this.definitions);
      for (const k of keep) found.memo.set(k, new Map(this.memo.get(k)));
      return found;
    }
    cached(kind, layer, i, rest, compute) {
      const view = i === this.position ? this : this.base, memo = view.memo.get(kind), key = `${layer} ${i} ${name(...rest)}`;
      if (!memo.has(key)) memo.set(key, compute(view));
      return memo.get(key);
    }
    tokens(i) { return this.fixed.tokens.has(i) ? [this.fixed.tokens.get(i)] : this.texts[i]; }
    interval(form) {
      let found = form.c;
      for (const table of form.tables.values()) found = add(found, join([...table.values()]));
      for (const [s, alpha] of form.symbols) found = add(found, mul(alpha, this.ranges.get(s)));
      return found;
    }
    narrow(symbol, range) { this.ranges.set(symbol, meet(this.ranges.get(symbol) ?? [-Infinity, Infinity], range)); }
    expand(form) {
      let found = new Form(form.c, form.tables);
      for (const [s, alpha] of form.symbols) found = found.plus(this.definitions.get(s).times(alpha));
      return found;
    }
    named(symbol, form) {
      this.narrow(symbol, this.interval(form));
      this.definitions.set(symbol, this.expand(form));
      return new Form(NOTHING, new Map(), new Map([[symbol, UNITY]]));
    }
    cases(i, forms, rule) {
      if (!forms.some((form) => form.tables.has(i))) return rule(forms);
      return merged(i, this.tokens(i).map((t) => [t, rule(forms.map((form) => form.at(i, t)))]));
    }

    error(terms) {
      const magnitude = terms.reduce((sum, [w, form]) => sum + size(mul(exact(w), this.interval(form))), 0n);
      return rounding(terms.length, terms.every(([w]) => powerOfTwo(w)), magnitude);
    }
    linear(i, given, bias = 0) { // LINEAR
      const terms = given.filter(([, form]) => !form.zero);
      if (bias) terms.push([1, new Form(exact(bias))]);
      if (terms.length === 1 && terms[0][0] === 1) return terms[0][1];
      const forms = terms.map(([, form]) => form), weights = terms.map(([w]) => exact(w));
      if (forms.every((form) => form.only(i))) {
        const unrounded = terms.every(([w]) => powerOfTwo(w));
        return this.cases(i, forms, (at) => new Form(roundedSum(at.map((form, k) => mul(weights[k], form.c)), unrounded)));
      }
      return forms.reduce((sum, form, k) => sum.plus(form.times(weights[k])), new Form()).wider(this.error(terms));
    }
    product(i, a, b) { // MUL
      const [left, right] = a.constant ? [a, b] : [b, a];
      if (left.zero || right.zero) return new Form();
      if (left.constant && right.constant) return new Form(nearest(mul(left.c, right.c)));
      if (left.constant && !right.only(i)) {
        const error = up(size(left.c) * size(this.interval(right)), F + 53n);
        return this.scaled(right, left.c).wider(error + 1n);
      }
      if (left.only(i) || right.only(i)) return this.cases(i, [left, right], ([x, y]) => this.product(i, x, y));
      const x = this.interval(left), y = this.interval(right);
      if (1000n * (y[1] - y[0]) * size(x) < (x[1] - x[0]) * size(y)) return this.product(i, new Form(y), left);
      return this.product(i, new Form(x), right);
    }
    scaled(form, factor) {
      if (!form.symbols.size) return form.times(factor);
      const middle = (factor[0] + factor[1]) >> 1n, radius = most(factor[1] - middle, middle - factor[0]);
      return form.times([middle, middle]).wider(up(radius * size(this.interval(form)), F));
    }
    relu(layer, i, n, gate) { // RELU
      let [low, high] = this.interval(gate);
      if (gate.constant) return new Form([most(0n, low), most(0n, high)]);
      const query = i === this.position, symbol = name("gate", layer, n);
      if (query && this.ranges.has(symbol)) [low, high] = meet([low, high], this.ranges.get(symbol));
      if (low >= 0n || high <= 0n) return low >= 0n ? gate : new Form();
      if (query) {
        const phase = this.fixed.phases.get(name(layer, n));
        if (phase === undefined) throw new OpenSign(`layer ${layer}, unit ${n}, position ${i}: the sign of its gate is open`);
        return phase ? gate : new Form();
      }
      const width = high - low, twice = 512n * high + width; // slope = 256 high / width, to the nearest, ties to even
      let slope = twice / (2n * width);
      if (twice % (2n * width) === 0n && slope & 1n) slope -= 1n;
      const over = most(up(-low * slope, 8n), up(high * (256n - slope), 8n));
      return gate.times([slope << (F - 8n), slope << (F - 8n)]).plus(new Form([0n, over]));
    }

    before(layer, i, column) {
      return this.cached("before", layer, i, [column], (view) => {
        const { embedding, vocabulary, layers } = view.model;
        if (layer === 0)
          return merged(i, view.tokens(i).map((t) => [t, new Form(exact(embedding[vocabulary.indexOf(t)][column]))]));
        const units = (layers[layer - 1].down[column] ?? []).map((w, n) => [w, n]).filter(([w]) => w);
        const added = units.map(([w, n]) => [w, view.unit(layer - 1, i, n)]);
        return view.linear(i, [[1, view.middle(layer - 1, i, column)], ...added]);
      });
    }
    middle(layer, i, column) {
      return this.cached("middle", layer, i, [column], (view) => {
        const rows = view.model.layers[layer].wiring.flatMap((head, h) => head.map((row, r) => [row[column], h, r]));
        const heads = rows.filter(([w]) => w).map(([w, h, r]) => [w, view.mixed(layer, i, h, r)]);
        const found = view.linear(i, [[1, view.before(layer, i, column)], ...heads]);
        const short = found.symbols.size + found.tables.size < 2;
        return short || view === view.base ? found : view.named(name("middle", layer, column), found);
      });
    }
    row(layer, i, kind, ...index) { // of a projection
      return this.cached("row", layer, i, [kind, ...index], (view) => {
        const pick = (array) => index.reduce((found, n) => found[n], array), part = view.model.layers[layer];
        const stream = kind === "gate" || kind === "up" ? "middle" : "before";
        const terms = pick(part[kind]).map((w, c) => [w, c]).filter(([w]) => w);
        return view.linear(i, terms.map(([w, c]) => [w, view[stream](layer, i, c)]), pick(part[`${kind}_bias`]));
      });
    }
    rows(layer, i, kind, head, own) {
      const found = this.model.layers[layer][kind][head].map((_, r) => this.row(layer, i, kind, head, r));
      return own === null ? found : found.map((form) => form.at(i, own));
    }
    mixed(layer, i, head, r) { // ATTN
      return this.cached("mixed", layer, i, [head, r], (view) => {
        const depends = view.rows(layer, i, "query", head, null).some((query) => query.tables.has(i));
        const found = depends ? merged(i, view.tokens(i).map((t) => [t, view.attend(layer, i, head, r, t)]))
          : view.attend(layer, i, head, r, null);
        return found.only(i) || view === view.base ? found : view.named(name("mixed", layer, head, r), found);
      });
    }
    attend(layer, i, head, r, own) {
      const values = Array.from({ length: i + 1 }, (_, j) => this.rows(layer, j, "value", head, j === i ? own : null)[r]);
      const count = values.filter((value) => !value.zero).length, relative = gamma(count - 1);
      let found = new Form();
      values.forEach((value, j) => {
        if (value.zero) return;
        const share = this.weights(layer, i, head, own)[j].map((p) => spread(p, relative));
        found = found.plus(this.product(j, share, value));
      });
      return found.wider(BigInt(count));
    }
    weights(layer, i, head, own) { // softmax1 with ALIBI
      return this.cached("weights", layer, i, [head, own], (view) => {
        const queries = view.rows(layer, i, "query", head, own).map((query) => view.interval(query));
        const slope = exact(view.model.layers[layer].slopes[head]), scores = [];
        for (let j = 0; j <= i; j++) {
          const distance = BigInt(j - i) << F, place = nearest(mul(slope, [distance, distance]));
          const score = (keys) => {
            const terms = keys.map((key, k) => mul(queries[k], view.interval(key)));
            return new Form(roundedSum([...terms, place], false));
          };
          scores.push(view.cases(j, view.rows(layer, j, "key", head, j === i ? own : null), score));
        }
        const ends = scores.map((s) => view.interval(s));
        const bottom = ends.map((a) => a[0]).reduce(most, 0n), top = ends.map((a) => a[1]).reduce(most, 0n);
        const found = scores.map((s) => s.map(([low, high]) => {
          const error = top ? up(size([low - top, high - bottom]), 53n) : 0n;
          return exp([low - top - error, least(0n, high - top + error)]);
        }));
        const sum = found.reduce((total, w) => add(total, view.interval(w)), exp([-top, -top]));
        const total = spread(sum, gamma(i + 1));
        return found.map((w) => w.map((p) => once(over(p, total))));
      });
    }
    gate(layer, i, n) { return this.row(layer, i, "gate", n); }
    unit(layer, i, n) {
      return this.cached("unit", layer, i, [n], (view) => {
        const gate = view.gate(layer, i, n), lift = view.row(layer, i, "up", n);
        if (!gate.only(i)) return view.product(i, view.relu(layer, i, n, gate), lift);
        return view.cases(i, [gate, lift], ([g, u]) => view.product(i, view.relu(layer, i, n, g), u));
      });
    }
    margin(right, other) { // READ
      const { layers, width } = this.model, logits = [right, other].map((token) => this.model.logit(token));
      const stream = Array.from({ length: width }, (_, k) => this.before(layers.length, this.position, k));
      const [a, b] = logits;
      let found = new Form(add(exact(a.bias), neg(exact(b.bias))));
      stream.forEach((form, k) => (found = found.plus(form.times(add(exact(a.row[k]), neg(exact(b.row[k])))))));
      for (const { row, bias } of logits) {
        const terms = [...row.map((w, k) => [w, stream[k]]), [bias ? 1 : 0, new Form(exact(bias))]];
        found = found.wider(this.error(terms.filter(([w]) => w)));
      }
      return found;
    }
    claimed(kind, ...key) {
      if (kind === "margin") return this.expand(this.margin(...key));
      const sound = ["mixed", "middle", "gate"].includes(kind) && key.every((n) => Number.isInteger(n) && n >= 0);
      need(sound && key.length === (kind === "mixed" ? 3 : 2), "a claim about nothing");
      return this.expand(this[kind](key[0], this.position, ...key.slice(1)));
    }
  }

  // ---- proofs: branches that cover all texts, claims, shortest paths ------------------------------

  const hex = (text) => { // a number as Python's float.hex writes it
    const found = /^(-?)0x([01]\.[0-9a-f]{1,13})p([+-]\d{1,4})$/.exec(text);
    need(found && typeof text === "string", "a bound is not a number");
    const [, sign, digits, power] = found, n = Number(`0x${digits.replace(".", "")}`), half = Math.trunc(power / 2);
    const value = n * 2 ** (half - 4 * (digits.length - 2)) * 2 ** (power - half) * (sign ? -1 : 1);
    need(toHex(value) === text, "a bound is not finite, or written in another way");
    return exact(value)[0];
  };
  const keys = (object, ...wanted) => {
    const found = object && typeof object === "object" && !Array.isArray(object) ? Object.keys(object) : [""];
    return found.length === wanted.length && wanted.every((key) => found.includes(key));
  };

  class Prover { // checks the trees of one specification; every generator yields once for each claim and leaf
    constructor(model, stages) {
      Object.assign(this, { model, stages, claims: 0 });
      this.texts = [];
      for (const [position, moves] of stages) this.texts[position] = [...new Set(moves.map(([, , t]) => t))].sort();
      this.base = new View(model, this.texts);
    }
    *position(tree, i) {
      need(keys(tree, "position", "children") && tree.position === i, `position ${i} is missing`);
      const { outputs } = this.model, root = new View(this.model, this.texts, i, this.base);
      need(this.texts[i + 1].every((t) => outputs.includes(t)), `position ${i + 1}: an answer has no logit`);
      for (const token of outputs.slice(1)) { // what all branches share, as far as no sign is open
        try {
          root.margin(token, outputs[0]);
        } catch (error) {
          if (!(error instanceof OpenSign)) throw error;
        }
      }
      const branches = this.texts[i + 1].map((t) => [t, root.part("tokens", i + 1, t, ALL)]);
      return yield* this.branches(branches, tree.children);
    }
    *branches(list, children) {
      need(keys(children, ...list.map(([key]) => key)), "a branch is missing, or one too many");
      let margin = Infinity;
      for (const [key, view] of list) margin = least(margin, yield* this.branch(view, children[key]));
      return margin;
    }
    *branch(view, node) {
      need(keys(node, "claims", "margin") || keys(node, "claims", "split", "children"), "a node with other parts");
      for (const claim of node.claims) {
        yield;
        if (this.claim(view, claim)) continue;
        need(node.margin === null, "a branch without texts has a margin");
        return Infinity;
      }
      if (node.split) return yield* this.branches(this.split(view, ...node.split), node.children);
      yield;
      const right = view.fixed.tokens.get(view.position + 1), stated = hex(node.margin);
      for (const other of this.model.outputs) {
        if (other === right) continue;
        const [claimed] = view.ranges.get(name("margin", right, other)) ?? [-Infinity];
        const found = most(view.interval(view.margin(right, other))[0], claimed);
        need(stated <= found, `position ${view.position + 1}, '${right}': a margin is not proved`);
      }
      need(stated > 0n, `position ${view.position + 1}, '${right}': a margin is not positive`);
      return stated;
    }
    claim(view, claim) {
      need(keys(claim, "of", "sign", "low") && Array.isArray(claim.of), "a claim with other parts");
      const { of, sign, low } = claim;
      need(sign === 1 || sign === -1, "a sign is not a sign");
      this.claims++;
      const factor = BigInt(sign) * ONE, found = this.least(view, view.claimed(...of).times([factor, factor]));
      need((found === null) === (low === null), "a branch is claimed to be empty, or not to be");
      if (low === null) return false;
      const bound = hex(low);
      need(bound <= found, "a claimed bound is larger than what holds");
      view.narrow(JSON.stringify(of), sign > 0 ? [bound, Infinity] : [-Infinity, -bound]);
      return true;
    }
    split(view, kind, ...key) {
      if (kind === "phase") {
        need(key.length === 2 && key.every(Number.isInteger) && this.model.layers[key[0]]?.gate[key[1]], "a split of no unit");
        return [["on", true], ["off", false]].map(([side, on]) => [side, view.part("phases", name(...key), on)]);
      }
      if (kind === "state") {
        need(key.length === 1 && Number.isInteger(key[0]) && this.stages[key[0]], "a split at no stage");
        const states = new Set(this.stages[key[0]][1].map(([, to]) => to));
        return [...states].map((s) => [String(s), view.part("states", key[0], s)]);
      }
      need((kind === "own" || kind === "again") && !key.length, "a split of no kind");
      if (kind === "again") return [["again", view.part()]];
      const i = view.position;
      return view.tokens(i).map((t) => [t, view.part("tokens", i, t, [])]);
    }
    least(view, form) { // PATH
      let reached = new Map([[0, form.c[0]]]);
      this.stages.forEach(([position, moves], stage) => {
        const { tokens, states } = view.fixed, table = form.tables.get(position), after = new Map();
        for (const [from, to, token] of moves) {
          if (!reached.has(from) || (tokens.get(position) ?? token) !== token || (states.get(stage) ?? to) !== to) continue;
          const cost = table ? reached.get(from) + table.get(token)[0] : reached.get(from);
          if (!after.has(to) || cost < after.get(to)) after.set(to, cost);
        }
        reached = after;
      });
      return reached.size ? [...reached.values()].reduce(least) : null;
    }
  }

  // ---- specifications: (length of the prompt, stages); a stage is (position, moves) ---------------

  const DIGITS = "0123456789", LETTERS = "abcdefghijklmnopqrstuvwxyz";
  function automaton(start, stages, first, accept = () => true) {
    let reached = new Map([[String(first), first]]);
    const layers = stages.map(([, step]) => {
      const moves = [], after = new Map();
      for (const [from, state] of reached)
        for (const [token, next] of step(state)) {
          moves.push([from, String(next), token]);
          after.set(String(next), next);
        }
      need(moves.length <= 1 << 21, "the specification has too many moves");
      reached = after;
      return moves;
    });
    let alive = new Set([...reached].filter(([, state]) => accept(state)).map(([key]) => key));
    for (let t = layers.length - 1; t >= 0; t--) {
      layers[t] = layers[t].filter(([, to]) => alive.has(to));
      alive = new Set(layers[t].map(([from]) => from));
    }
    let numbers = new Map([[String(first), 0]]);
    const found = layers.map((moves, t) => {
      const after = new Map(), ordered = moves.map(([from, to, token]) => [numbers.get(from), to, token]);
      ordered.sort((a, b) => a[0] - b[0] || (a[2] < b[2] ? -1 : 1));
      const numbered = ordered.map(([from, to, token]) => {
        if (!after.has(to)) after.set(to, after.size);
        return [from, after.get(to), token];
      });
      numbers = after;
      return [stages[t][0], numbered];
    });
    return [start, found];
  }
  function count(stages) {
    let ways = new Map([[0, 1n]]);
    for (const [, moves] of stages) {
      const after = new Map();
      for (const [from, to] of moves) after.set(to, (after.get(to) ?? 0n) + ways.get(from));
      ways = after;
    }
    return [...ways.values()].reduce((a, b) => a + b, 0n);
  }
  const step = (tokens, after = (s) => s) => (s) =>
    [...(typeof tokens === "function" ? tokens(s) : tokens)].map((t) => [t, after(s, t)]);
  const marks = (text, ...positions) => positions.map((p, k) => [p, step(text[k])]);
  const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, k) => from + k);
  const gcd = (a, b) => (b ? gcd(b, a % b) : a < 0n ? -a : a);

  // Texts with sum of weight * digit = 0; the state is the sum, kept if the digits to come can make it zero.
  function equation(start, fixed, weights) {
    const stages = weights.map(([position, weight, choices], n) => {
      const rest = weights.slice(n + 1), grid = rest.map(([, w]) => w).reduce(gcd, 0n);
      const reach = rest.map(([, w, c]) => w * BigInt(c - 1));
      const low = reach.reduce((s, w) => s + least(0n, w), 0n), high = reach.reduce((s, w) => s + most(0n, w), 0n);
      const fits = (s) => (grid ? s % grid === 0n : s === 0n) && low <= -s && -s <= high;
      const digits = [...(DIGITS + LETTERS).slice(0, choices)];
      return [position, (s) => digits.map((t, d) => [t, s + weight * BigInt(d)]).filter(([, sum]) => fits(sum))];
    });
    return automaton(start, [...fixed, ...stages], 0n, (s) => s === 0n);
  }
  const larger = (sofar, a, b) => (sofar !== "=" ? sofar : a < b ? "<" : a > b ? ">" : "=");
  const word = (length, stages, first) => automaton(length + 2, [...marks("^=", 0, length + 1), ...stages], first);
  const power = (base, n) => BigInt(base) ** BigInt(n);

  const TASKS = {
    addition({ digits, base, order, operands, padding }) {
      const width = digits + padding, weights = [];
      let answer = 1;
      while (power(base, answer) <= BigInt(operands) * (power(base, digits) - 1n)) answer++;
      const start = 1 + operands * (width + 1);
      for (let column = 0; column < Math.max(width, answer); column++)
        for (let k = 0; k <= operands; k++) {
          const length = k < operands ? width : answer;
          if (column >= length) continue;
          const at = 1 + k * (width + 1) + (order === "most" ? length - 1 - column : column);
          const choices = column < digits || k === operands ? base : 1;
          weights.push([at, power(base, column) * (k < operands ? 1n : -1n), choices]);
        }
      const plus = range(1, operands).map((k) => k * (width + 1));
      return [equation(start, marks("^" + "+".repeat(plus.length) + "=", 0, ...plus, start - 1), weights)];
    },
    subtraction({ digits }) {
      const lasts = [[digits, 1n], [2 * digits + 1, -1n], [3 * digits + 2, -1n]];
      const weights = range(0, digits).flatMap((c) => lasts.map(([last, sign]) => [last - c, sign * power(10, c), 10]));
      return [equation(2 * digits + 3, marks("^=-", 0, 2 * digits + 2, digits + 1), weights)];
    },
    scaling({ digits, factor }) {
      const answer = String(BigInt(factor) * (power(10, digits) - 1n)).length, weights = [];
      for (let column = 0; column < answer; column++) {
        if (column < digits) weights.push([digits - column, BigInt(factor) * power(10, column), 10]);
        weights.push([digits + 1 + answer - column, -power(10, column), 10]);
      }
      return [equation(digits + 2, marks("^=", 0, digits + 1), weights)];
    },
    conversion({ digits, radix }) {
      const answer = String(power(radix, digits) - 1n).length;
      const weights = [...range(0, digits).map((p) => [1 + p, power(radix, digits - 1 - p), radix]),
        ...range(0, answer).map((column) => [digits + 1 + answer - column, -power(10, column), 10])];
      const heavy = ([, w]) => (w < 0n ? -w : w);
      weights.sort((a, b) => (heavy(a) > heavy(b) ? -1 : heavy(a) < heavy(b) ? 1 : 0));
      return [equation(digits + 2, marks("^=", 0, digits + 1), weights)];
    },
    multiplication({ digits, second }) { // the state is the one digit b, and the carry
      need((second || digits) === 1, "this checker has no specification of products of two long numbers");
      const stages = [...marks("^=*", 0, digits + 3, digits + 1), [digits + 2, step(DIGITS, (_, t) => [+t, 0])]];
      for (let column = 0; column <= digits; column++) {
        if (column < digits) stages.push([digits - column, step(DIGITS, ([b, carry], t) => [b, carry + b * +t])]);
        const write = step(([, carry]) => String(carry % 10), ([b, carry]) => [b, Math.floor(carry / 10)]);
        stages.push([2 * digits + 4 - column, write]);
      }
      return [automaton(digits + 4, stages, [0, 0], ([, carry]) => carry === 0)];
    },
    comparison({ digits }) { // the state is the sign so far, and a digit of a if it matters
      const stages = marks("^?:", 0, digits + 1, 2 * digits + 2);
      for (let p = 0; p < digits; p++) {
        stages.push([1 + p, step(DIGITS, ([sign], a) => [sign, sign === "=" ? a : ""])]);
        stages.push([digits + 2 + p, step(DIGITS, ([sign, a], b) => [larger(sign, a, b), ""])]);
      }
      return [automaton(2 * digits + 3, [...stages, [2 * digits + 3, step(([sign]) => sign)]], ["=", ""])];
    },
    maximum({ digits }) { // the state is the sign so far, and the digit of a, then of the larger
      const stages = marks("^,:", 0, digits + 1, 2 * digits + 2);
      const second = ([sign, a], b) => [larger(sign, a, b), larger(sign, a, b) === "<" ? b : a];
      for (let p = 0; p < digits; p++) {
        stages.push([1 + p, step(DIGITS, ([sign], a) => [sign, a])], [digits + 2 + p, step(DIGITS, second)]);
        stages.push([2 * digits + 3 + p, step(([, digit]) => digit, ([sign]) => [sign, ""])]);
      }
      return [automaton(2 * digits + 3, stages, ["=", ""])];
    },
    modular_addition({ modulus }) {
      const number = step(() => range(0, modulus).map(String), (s, t) => (s + +t) % modulus);
      const answer = step((s) => [String(s)], () => 0);
      return [automaton(5, [...marks("^", 0), [1, number], ...marks("+", 2), [3, number], ...marks("=", 4), [5, answer]], 0)];
    },
    counting({ length, letters_used }) {
      const letter = step(LETTERS.slice(0, letters_used), (s, t) => s + (t === "a" ? 1 : 0));
      const answer = step((s) => [String(s)], () => 0);
      return range(1, length + 1).map((n) => word(n, [...range(1, n + 1).map((p) => [p, letter]), [n + 2, answer]], 0));
    },
    parity({ length, steps }) {
      const bit = step("01", (s, t) => s + +t), answer = step((s) => String(s % 2), (s) => s % 2), all = range(1, length + 1);
      return [word(length, steps ? all.flatMap((p) => [[p, bit], [length + 1 + p, answer]])
        : [...all.map((p) => [p, bit]), [length + 2, answer]], 0)];
    },
    rewriting({ length, how }) {
      const all = range(1, length + 1), copy = step((s) => s, () => "");
      const insert = step(DIGITS, (s, t) => [...s, t].sort().join("")), smallest = step((s) => s[0], (s) => s.slice(1));
      return [word(length, how === "sort" ? [...all.map((p) => [p, insert]), ...all.map((p) => [length + 1 + p, smallest])]
        : all.flatMap((p) => [[p, step(DIGITS, (_, t) => t)], [(how === "copy" ? length + 1 : 2 * length + 2) + (how === "copy" ? p : -p), copy]]), "")];
    },
    derivative_coefficients({ exponents }) { // : s c s c .. = then s t o for each n c_n; the state is what is left to write
      const start = 2 * exponents + 4, stages = marks(":=", 0, start - 1);
      for (let slot = 0; slot <= exponents; slot++) {
        const n = exponents - slot;
        const write = (s, t) => (n ? s + String(n * +t).padStart(2, "0") : "");
        stages.push([1 + 2 * slot, step("+-", (_, t) => t)]);
        stages.push([2 + 2 * slot, step((s) => DIGITS.slice(s === "-" ? 1 : 0), write)]);
        if (n) for (let k = 0; k < 3; k++) stages.push([start + 3 * slot + k, step((s) => s[0], (s) => s.slice(1))]);
      }
      return [automaton(start, stages, "")];
    },
  };

  const whole = (low, high) => (x) => Number.isInteger(x) && low <= x && x <= high, among = (...list) => (x) => list.includes(x);
  const HUNDRED = whole(1, 100);
  const OPTIONS = { // of each task: its vocabulary, and what each option may be
    addition: [({ base }) => [...(DIGITS + LETTERS).slice(0, base), ..."=^$+"], { digits: whole(1, 1000), base: whole(2, 36),
      order: among("most", "least"), operands: whole(2, 100), padding: whole(0, 1000) }],
    subtraction: [() => [...DIGITS, ..."=^$-"], { digits: HUNDRED }],
    scaling: [() => [...DIGITS, ..."=^$"], { digits: HUNDRED, factor: whole(1, 10 ** 6) }],
    conversion: [() => [...DIGITS, ..."=^$"], { digits: whole(1, 400), radix: whole(2, 9) }],
    multiplication: [() => [...DIGITS, ..."=^$*"], { digits: HUNDRED, second: whole(0, 100) }],
    comparison: [() => [..."<=>", ...DIGITS, ..."?:^"], { digits: HUNDRED }],
    maximum: [() => [...DIGITS, ...",:^"], { digits: HUNDRED }],
    modular_addition: [({ modulus }) => [...range(0, modulus).map(String), ..."+=^"], { modulus: whole(2, 1000) }],
    counting: [({ letters_used }) => [...DIGITS, ...LETTERS.slice(0, letters_used), ..."=^"],
      { length: whole(1, 9), letters_used: whole(2, 26) }],
    parity: [() => [..."01=^"], { length: whole(1, 10000), steps: among(true, false) }],
    rewriting: [() => [...DIGITS, ..."=^"], { length: HUNDRED, how: among("copy", "reverse", "sort") }],
    derivative_coefficients: [() => [...DIGITS, ..."=:+-"], { exponents: whole(1, 9) }],
  };
  function specify(task) { // [vocabulary, specifications]
    need(keys(task, "name", "options") && typeof task.name === "string" && Object.hasOwn(TASKS, task.name),
      `this checker has no specification of task ${canonical(task?.name ?? null).slice(0, 60)}`);
    const [vocabulary, allowed] = OPTIONS[task.name], { options } = task;
    need(keys(options, ...Object.keys(allowed)), `task ${task.name}: the options are ${Object.keys(allowed)}`);
    for (const key in allowed)
      need(allowed[key](options[key]), `task ${task.name}: ${key}=${canonical(options[key]).slice(0, 60)} is not possible`);
    return [vocabulary(options), TASKS[task.name](options)];
  }

  // ---- files --------------------------------------------------------------------------------------

  function sha256(bytes) { // FIPS 180-4, as hexadecimal
    const primes = [];
    for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
    const root = (p, k) => { // the first 32 bits behind the point of the k-th root of p
      let low = 0n;
      for (let bit = 1n << 36n; bit; bit >>= 1n) if ((low + bit) ** BigInt(k) <= BigInt(p) << BigInt(32 * k)) low += bit;
      return Number(low & 0xffffffffn);
    };
    const K = primes.map((p) => root(p, 3)), state = Uint32Array.from(primes.slice(0, 8), (p) => root(p, 2));
    const padded = new Uint8Array((bytes.length + 72) & ~63), words = new DataView(padded.buffer), w = new Uint32Array(64);
    padded.set(bytes);
    padded[bytes.length] = 128;
    words.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
    const turn = (x, n) => (x >>> n) | (x << (32 - n));
    for (let block = 0; block < padded.length; block += 64) {
      for (let t = 0; t < 64; t++) {
        if (t < 16) { w[t] = words.getUint32(block + 4 * t); continue; }
        const x = w[t - 15], y = w[t - 2];
        w[t] = w[t - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[t - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let t = 0; t < 64; t++) {
        const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t]) | 0;
        const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((x, k) => (state[k] += x));
    }
    return [...state].map((x) => x.toString(16).padStart(8, "0")).join("");
  }

  // JSON with every key once, objects without a prototype, integers exact (BigInt where a double is not); numbers with a
  // fraction only where `fractions` are allowed, and never the same as integers.
  class Fraction {
    constructor(value) { this.value = value; }
  }
  function readJson(bytes, fractions) {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const pattern = /[ \t\n\r]*(?:([{}[\],:]|true|false|null)|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?))/y;
    const next = () => {
      const found = pattern.exec(text);
      need(found, "a file is not JSON");
      return found;
    };
    const value = ([, mark, string, number, fraction, power]) => {
      if (string !== undefined) return JSON.parse(string);
      if (number !== undefined) {
        need(fractions || !(fraction ?? power), "a certificate holds a number with a fraction");
        const read = Number(number);
        if (fraction ?? power) return new Fraction(read);
        return Number.isSafeInteger(read) ? read : BigInt(number);
      }
      if (mark in CONSTANTS) return CONSTANTS[mark];
      need(mark === "{" || mark === "[", "a file is not JSON");
      const object = Object.create(null), list = [], end = mark === "{" ? "}" : "]";
      for (let found = next(); found[1] !== end || list.length; found = next()) {
        if (mark === "{") {
          need(found[2] !== undefined && next()[1] === ":", "a file is not JSON");
          const key = JSON.parse(found[2]);
          need(!(key in object), `a key occurs twice: ${JSON.stringify(key)}`);
          object[key] = value(next());
        }
        list.push(mark === "{" ? 0 : value(found));
        const after = next()[1];
        if (after === end) break;
        need(after === ",", "a file is not JSON");
      }
      return mark === "{" ? object : list;
    };
    const found = value(next());
    need(!text.slice(pattern.lastIndex).trim(), "a file has more than one value");
    return found;
  }
  const CONSTANTS = { true: true, false: false, null: null };
  const pointwise = (a, b) => { // order of code points
    const x = [...a], y = [...b], k = x.findIndex((c, n) => c !== y[n]);
    return k < 0 ? x.length - y.length : k >= y.length ? 1 : x[k].codePointAt(0) - y[k].codePointAt(0);
  };
  function canonical(data) { // keys sorted, no spaces, ASCII: the text that hashes are of
    if (Array.isArray(data)) return `[${data.map(canonical).join(",")}]`;
    if (typeof data === "string")
      return JSON.stringify(data).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
    if (data instanceof Fraction) return `${data.value} with a fraction`; // is not hashed, only compared
    if (data === null || typeof data !== "object") return String(data);
    return `{${Object.keys(data).sort(pointwise).map((key) => `${canonical(key)}:${canonical(data[key])}`).join(",")}}`;
  }
  const same = (a, b) => canonical(a) === canonical(b);
  const bytesOf = (text) => new TextEncoder().encode(text);
  const toHex = (x) => { // as Python's float.hex
    const { negative, biased, fraction, n } = parts(x), power = n ? (biased || 1) - 1023 : 0;
    const digits = n ? fraction.toString(16).padStart(13, "0") : "0";
    return `${negative ? "-" : ""}0x${biased ? 1 : 0}.${digits}p${power < 0 ? "" : "+"}${power}`;
  };

  const LARGEST = 2 ** 26; // bytes of a file
  function readSafetensors(bytes) { // name -> [shape, numbers]
    need(bytes.length >= 8, "the file of weights is truncated");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), length = view.getBigUint64(0, true);
    need(length <= BigInt(bytes.length - 8), "the file of weights is truncated");
    const body = 8 + Number(length), text = new TextDecoder("latin1").decode(bytes.subarray(8, body));
    need(/^{[^]*} *$/.test(text), "the header of the weights is padded");
    const header = readJson(bytes.subarray(8, body), false), found = new Map();
    const about = Object.values(header.__metadata__ ?? {});
    need(about.every((x) => typeof x === "string"), "the metadata of the weights is no text");
    delete header.__metadata__;
    const entries = Object.entries(header).sort((a, b) => a[1].data_offsets[0] - b[1].data_offsets[0]
      || a[1].data_offsets[1] - b[1].data_offsets[1]);
    let end = 0;
    for (const [key, entry] of entries) {
      need(keys(entry, "dtype", "shape", "data_offsets"), `tensor '${key}' has other entries`);
      const { dtype, shape, data_offsets: [start, stop] } = entry, n = shape.reduce((a, b) => a * b, 1);
      need(dtype === "F64" && shape.every(whole(0, LARGEST)) && start === end && stop - start === 8 * n, `tensor '${key}' is damaged`);
      need(body + stop <= bytes.length, "the file of weights is truncated");
      found.set(key, [shape, Float64Array.from({ length: n }, (_, k) => view.getFloat64(body + start + 8 * k, true))]);
      end = stop;
    }
    need(body + end === bytes.length, "the file of weights is truncated or too long");
    return found;
  }

  const USUAL = { // of the machine that the rules are about
    softmax: "softmax1", positions: "alibi", context: 0, rotary_base: new Fraction(10000),
    embedding: "table", scaled: false, projected: false, biases: true, norm: "none", norm_place: "pre", gains: true,
    activation: "relu", gated: true, dropout: new Fraction(0), repeat: 1,
  };
  const CONFIG = { // what the parts of a config are where a description leaves them out
    lanes: [], unembedding: true, unembedding_bias: false, tied: false, readout_wiring: false, argmin: false, shared: 0,
    ties: [], options: {}, encoder: [], separator: 0,
  };
  const BLOCK = { heads: 0, d_head: 1, d_value: 1, hidden: 0 };
  function filled(given, usual, needed) {
    const all = [...needed, ...Object.keys(usual)];
    need(given && typeof given === "object" && !Array.isArray(given), "a description is missing");
    need(needed.every((key) => key in given) && Object.keys(given).every((key) => all.includes(key)), "a key is missing or unknown");
    return Object.assign(Object.create(null), usual, given);
  }
  const changed = (given, usual) => { // what is not as usual
    const kept = Object.entries(given).filter(([key, x]) => !(Object.hasOwn(usual, key) && same(x, usual[key])));
    return Object.assign(Object.create(null), Object.fromEntries(kept));
  };
  class Model { // the numbers as nested arrays; what no rule covers is refused
    constructor(weights, description) {
      const described = readJson(description, true);
      need(weights.length <= LARGEST && description.length <= LARGEST, "a file is too large");
      need(sha256(weights) === described.weights.sha256, "the weights are not of model.json");
      need(described.format === "tinyadder model" && described.version === 1, "model.json has another format");
      need(described.dtype === "float64", "the model is not float64");
      this.task = described.task;
      this.tensors = readSafetensors(weights);
      const config = filled(described.config, CONFIG, ["vocabulary", "width", "blocks", "outputs"]);
      this.describe(config);
      this.ties = new Map();
      this.plain = new Map();
      const shared = config.shared ? this.array("shared", config.shared) : [];
      for (const [key, at, source, more] of config.ties) {
        if (!this.ties.has(key)) this.ties.set(key, new Map());
        const tied = this.ties.get(key);
        need(more === undefined && whole(0, LARGEST)(at) && !tied.has(at), "a tie is at no place, or twice at one");
        need(whole(0, shared.length - 1)(source), "a tie is to no shared number");
        tied.set(at, shared[source]);
      }
      this.embedding = this.array("embedding", this.vocabulary.length, this.width);
      this.layers = config.blocks.map((sizes, depth) => this.layer(`blocks.${depth}`, sizes));
      const n = config.outputs.length, readouts = config.unembedding ? [this.array("unembedding", n, this.width)] : [];
      this.biases = config.unembedding_bias ? this.array("unembedding_bias", n) : config.outputs.map(() => 0);
      if (config.tied) readouts.push(config.outputs.map((t) => this.embedding[t]));
      if (config.readout_wiring) readouts.push(this.array("readout_wiring", n, this.width));
      need(readouts.length, "the model has no readout");
      this.readout = readouts.reduce((a, b) => a.map((row, o) => row.map((w, k) => w + b[o][k])));
      need(!this.ties.size, "tensors are tied that the model does not have");
      need(this.plain.size === this.tensors.size, "the file of weights has tensors that the machine does not");
    }
    describe(config) { // names and sizes; `this.config` is what goes into the digest
      const options = filled(config.options, USUAL, []), size = whole(1, LARGEST), none = whole(0, LARGEST);
      for (const key in USUAL) need(same(options[key], USUAL[key]), `the model has '${key}' that no rule covers`);
      need(same(config.encoder, []) && config.separator === 0, "no rule covers an encoder");
      config.blocks = config.blocks.map((block) => filled(block, BLOCK, []));
      for (const block of config.blocks)
        for (const key in BLOCK) need((BLOCK[key] ? size : none)(block[key]), "a block has no size");
      const { vocabulary, outputs, lanes } = config, distinct = (list) => new Set(list).size === list.length;
      need(size(config.width) && none(config.shared), "a size is none");
      need(vocabulary.every((t) => typeof t === "string") && distinct(vocabulary), "a token occurs twice");
      need(outputs.length && outputs.every(whole(0, vocabulary.length - 1)) && distinct(outputs), "an output occurs twice, or is no token");
      for (const lane of lanes) need(lane.length === 2 && typeof lane[0] === "string" && size(lane[1]), "a lane has no name or width");
      for (const key of ["unembedding", "unembedding_bias", "tied", "readout_wiring", "argmin"])
        need(typeof config[key] === "boolean", `'${key}' is neither true nor false`);
      Object.assign(this, { vocabulary, width: config.width, argmin: config.argmin, outputs: outputs.map((t) => vocabulary[t]) });
      this.config = { ...changed({ ...config, options: {} }, CONFIG), blocks: config.blocks.map((block) => changed(block, BLOCK)) };
    }
    layer(place, sizes) {
      const { heads, d_head, d_value, hidden } = sizes, { width } = this, found = {};
      const attention = { slopes: [heads], wiring: [heads, d_value, width] }, mlp = { down: [width, hidden] };
      for (const [part, rows] of [["query", d_head], ["key", d_head], ["value", d_value]])
        Object.assign(attention, { [part]: [heads, rows, width], [`${part}_bias`]: [heads, rows] });
      for (const part of ["gate", "up"]) Object.assign(mlp, { [part]: [hidden, width], [`${part}_bias`]: [hidden] });
      for (const [part, there, arrays] of [["attention", heads, attention], ["mlp", hidden, mlp]])
        for (const key in arrays) found[key] = there ? this.array(`${place}.${part}.${key}`, ...arrays[key]) : [];
      return found;
    }
    array(key, ...shape) { // a tensor, its tied entries read from the shared numbers
      const [, path, leaf] = /^(.*\.)?([^.]*)$/.exec(key), tied = this.ties.has(key);
      const stored = tied ? `${path ?? ""}parametrizations.${leaf}.original` : key, tensor = this.tensors.get(stored);
      need(tensor && same(tensor[0], shape), `tensor '${key}' is missing or misshapen`);
      this.plain.set(stored, key);
      let flat = [...tensor[1]];
      for (const [at, x] of this.ties.get(key) ?? []) {
        need(at < flat.length, `tensor '${key}' is tied where it has no entry`);
        flat[at] = x;
      }
      this.ties.delete(key);
      for (const x of flat) need(x === 0 || (2 ** -1000 < Math.abs(x) && Math.abs(x) < 2 ** 1000), `tensor '${key}' holds ${x}`);
      for (const n of shape.slice(1).reverse())
        flat = range(0, flat.length / n).map((k) => flat.slice(k * n, k * n + n));
      return flat;
    }
    logit(token) { // row and bias: of the negative where the smallest readout wins
      const o = this.outputs.indexOf(token), sign = this.argmin ? -1 : 1;
      return { row: this.readout[o].map((w) => sign * w), bias: sign * this.biases[o] };
    }
    summary() { // SHA-256 over names, types, shapes and numbers; shapes and non-zero entries
      const chunks = [], tensors = Object.create(null);
      for (const [stored, key] of [...this.plain].sort(([, a], [, b]) => pointwise(a, b))) {
        const [shape, flat] = this.tensors.get(stored), body = new DataView(new ArrayBuffer(8 * flat.length));
        flat.forEach((x, k) => body.setFloat64(8 * k, x, true));
        chunks.push(bytesOf(`${key} torch.float64 [${shape.join(", ")}]\n`), new Uint8Array(body.buffer));
        const entries = [...flat].map((x, k) => [k, x]).filter(([, x]) => x).map(([k, x]) => [k, toHex(x)]);
        tensors[key] = { shape, entries: Object.fromEntries(entries) };
      }
      const all = new Uint8Array(chunks.reduce((n, chunk) => n + chunk.length, 0));
      chunks.reduce((at, chunk) => (all.set(chunk, at), at + chunk.length), 0);
      return { sha256: sha256(all), tensors };
    }
    digest(weights) { // SHA-256 over all that decides whether the answers are right
      return sha256(bytesOf(canonical({ weights, config: this.config, task: this.task })));
    }
    noOverflow(length) { // every number stays below 2^1000, by exponents
      const bound = (weights, column, bias = 0) => {
        const terms = [exponent(bias), ...weights.map((w, k) => [w, k]).filter(([w]) => w).map(([w, k]) => exponent(w) + column[k])];
        const found = Math.max(...terms) + 32 - Math.clz32(terms.length);
        need(found < 1000, "a number may overflow");
        return found;
      };
      const bounds = (rows, column, biases) => rows.map((row, k) => bound(row, column, biases[k]));
      const ones = (list) => list.map(() => 1), columns = range(0, this.width);
      let column = columns.map((k) => Math.max(...this.embedding.map((row) => exponent(row[k]))));
      for (const layer of this.layers) {
        const heads = [];
        layer.slopes.forEach((slope, h) => {
          const [query, key, value] = ["query", "key", "value"].map((n) => bounds(layer[n][h], column, layer[`${n}_bias`][h]));
          bound(ones(query), query.map((q, k) => q + key[k]), slope * length);
          heads.push(...value.map((v) => v + 1));
        });
        const wires = layer.wiring.flat();
        column = columns.map((k) => bound([1, ...wires.map((row) => row[k])], [column[k], ...heads]));
        const [gates, ups] = ["gate", "up"].map((n) => bounds(layer[n], column, layer[`${n}_bias`]));
        const units = gates.map((g, k) => bound([1], [g + ups[k]]));
        if (layer.down.length) column = columns.map((k) => bound([1, ...layer.down[k]], [column[k], ...units]));
      }
      bounds(this.readout, column, this.biases);
    }
  }

  // ---- the judgement ------------------------------------------------------------------------------

  const RULES = ["EMBED", "LINEAR", "ALIBI", "ATTN", "MUL", "RELU", "READ", "PATH"];
  const nodes = (tree) => 1 + (tree.claims?.length ?? 0) + Object.values(tree.children ?? {}).reduce((n, t) => n + nodes(t), 0);

  function* judge(weights, description, file) {
    need(file.length <= LARGEST, "a file is too large");
    const certificate = readJson(file, false), model = new Model(weights, description), { task } = model;
    const seal = certificate.sha256, summary = model.summary(), found = summary.sha256;
    delete certificate.sha256;
    need(sha256(bytesOf(canonical(certificate))) === seal, "the certificate was edited or truncated");
    const madeFor = certificate.weights.sha256;
    need(madeFor === found, `it is for weights ${String(madeFor).slice(0, 8)}.., this model is ${found.slice(0, 8)}..: it proves nothing about it`);
    const [vocabulary, specifications] = specify(task), digest = model.digest(found);
    need(same(model.vocabulary, vocabulary), "the vocabulary of the model is not that of the task");
    const expected = { format: "tinyadder certificate", version: 3, model: digest, config: model.config, task, numerics: NUMERICS,
      rules: RULES, weights: summary };
    for (const key in expected) need(same(certificate[key], expected[key]), `the certificate is of another ${key}`);
    need(keys(certificate, ...Object.keys(expected), "parts", "margin", "versions"), "the certificate has a part too many");
    const { parts: stated } = certificate;
    need(stated.length === specifications.length, "a part is missing, or one too many");
    const total = stated.flatMap((part) => part.positions).reduce((n, tree) => n + nodes(tree), 0);
    let problems = 0n, claims = 0, margin = Infinity, done = 0;
    for (const [k, [start, stages]] of specifications.entries()) {
      const part = stated[k], prover = new Prover(model, stages), length = stages.length;
      problems += checkPart(model, part, start, stages);
      for (const [n, tree] of part.positions.entries()) {
        const steps = prover.position(tree, start - 1 + n);
        for (let step = steps.next(); ; step = steps.next()) {
          if (step.done) { margin = least(margin, step.value); break; }
          yield { done: ++done, total, position: start + n, length };
        }
      }
      claims += prover.claims;
    }
    need(hex(certificate.margin) === margin, "the margin is not the smallest of all branches");
    const drop = Math.max(0, bits(margin) - 60); // 53 bits are there: a margin is stated as a float64
    return { task, problems, margin: Number(margin >> BigInt(drop)) * 2 ** (drop - Number(F)), claims, sha256: digest, model };
  }
  function checkPart(model, part, start, stages) {
    const visited = stages.map(([position]) => position).sort((a, b) => a - b);
    need(visited.every((p, k) => p === k), "the specification does not visit every position once");
    const rows = stages.map(([position, edges]) => ({ position, edges })), spec = { start, length: stages.length, stages: rows };
    const texts = count(stages);
    need(texts > 0n, "the specification has no texts");
    const stated = { sha256: sha256(bytesOf(canonical(spec))), texts, ...spec };
    need(keys(part, "specification", "positions"), "a part has something missing or too much");
    need(same(part.specification, stated), "the certificate is of another specification");
    need(part.positions.length === stages.length - start, "a position is missing");
    model.noOverflow(stages.length);
    return texts;
  }

  // The judgement as a generator, so that a page can show how far it is: it yields {done, total, position, length} and
  // returns {task, problems, margin, claims, sha256, model}. Arguments: the bytes of model.safetensors, model.json and
  // certificate.json. Throws `Rejected` for all that is not a proof.
  function* checker(weights, description, certificate) {
    try {
      return yield* judge(weights, description, certificate);
    } catch (error) {
      throw error instanceof Rejected ? error : new Rejected(`damaged: ${error.name}: ${error.message}`);
    }
  }
  function check(...files) {
    const steps = checker(...files);
    for (let step = steps.next(); ; step = steps.next()) if (step.done) return step.value;
  }
  return { Rejected, NUMERICS, checker, check, exact, expOf, mul, over, nearest, roundedSum, Form, View, canonical, readJson,
    sha256, specify };
})();

if (typeof module !== "undefined") {
  module.exports = Check;
  if (require.main === module) {
    const { readFileSync } = require("node:fs"), { join } = require("node:path"), [folder, file, more] = process.argv.slice(2);
    const main = () => {
      if (!folder || folder.startsWith("-") || more) {
        process.stderr.write("usage: node checker.js FOLDER [CERTIFICATE]\n");
        return 2;
      }
      try {
        const files = [join(folder, "model.safetensors"), join(folder, "model.json"), file ?? join(folder, "certificate.json")];
        const found = Check.check(...files.map((path) => readFileSync(path)));
        const options = Object.entries(found.task.options).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ");
        process.stdout.write(`PROVED     ${found.task.name} (${options}): all ${found.problems.toLocaleString("en")} problems\n`
          + `margin     ${found.margin} in logits, the smallest over all of them\n`
          + `model      sha256 ${found.sha256} of weights, config and task\n`
          + `checked    ${found.claims} shortest paths, under these assumptions:\n`);
        for (const [key, value] of Object.entries(Check.NUMERICS)) process.stdout.write(`${key.padEnd(10)} ${value}\n`);
        return 0;
      } catch (reason) {
        if (!(reason instanceof Check.Rejected) && !reason.code) throw reason;
        process.stdout.write(`REJECTED   ${JSON.stringify(reason.message).slice(1, -1)}\n`);
        return 1;
      }
    };
    process.exitCode = main();
  }
}
