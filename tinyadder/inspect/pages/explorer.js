"use strict";
// The page around machine.js: a problem, the program at work on it, every number, and the sum that made it.
const GIVEN = JSON.parse(document.getElementById("models").textContent),
  MODELS = GIVEN.models.map(load);
for (const model of MODELS)
  // prompts and answers as lists of tokens
  model.examples = model.examples.map(([text, prompt, right]) => [
    text,
    Array.from(prompt),
    right === null ? null : Array.from(right),
  ]);
const $ = (id) => document.getElementById(id);
const make = (tag, props = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props))
    key in node ? (node[key] = value) : node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
};
const tidy = (text) =>
  text
    .replace(/(\.\d*?)0+(e|$)/, "$1$2")
    .replace(/\.(e|$)/, "$1")
    .replace("e+", "e");
const digits = (v, n) => {
  const size = Math.abs(v);
  if (v === 0 || !Number.isFinite(v)) return String(v);
  if (Number.isInteger(v) && size < 10 ** n) return String(v);
  return size >= 1e-3 && size < 10 ** n ? tidy(v.toPrecision(n)) : tidy(v.toExponential(n - 1));
};
const show = (v) => digits(v, 6),
  brief = (v) => digits(v, 3),
  plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const state = {
  model: MODELS[0],
  text: "",
  prompt: [],
  right: null,
  done: null,
  digit: 0,
  stage: 0,
  token: 0,
  column: 0,
  output: 0,
  hard: 0,
  timer: 0,
};

// ---- the model: lanes, stages, numbers ------------------------------------------------------------

const laneNames = (model) =>
  model.lanes.flatMap(([name, width]) =>
    Array.from({ length: width }, (_, i) => (width === 1 ? name : `${name}[${i}]`)),
  );
const laneOf = (model, column) => laneNames(model)[column].replace(/\[\d+\]$/, "");
const kindName = (kind) => (kind === "mlp" ? "MLP" : kind);
function stages() {
  // what the page steps through: [key, title]
  const steps = state.done.run.steps.map((s) => [
    `${s.layer} ${s.kind}`,
    `layer ${s.layer} ${kindName(s.kind)}`,
  ]);
  return [["embed", "embedding"], ...steps, ["logits", "logits"]];
}
const stepAt = (stage) => state.done.run.steps[stage - 1];
const isLogits = (stage) => stage === state.done.run.steps.length + 1;
const streamAt = (stage) =>
  stage === 0 ? state.done.run.embedded : (stepAt(stage) ?? { after: state.done.run.stream }).after;
const query = () => state.done.first + state.digit;
const tokenAt = (i) => state.model.vocabulary[state.done.tokens[i]];

// The numbers that a stage uses, so that they can be changed: {label, row, k, tie}; `row[k]` is the number.
function numbersOf(model, key) {
  const names = laneNames(model),
    found = [],
    width = model.width;
  const tied = (name, flat) => model.ties.find(([n, at]) => n === name && at === flat)?.[2] ?? null;
  const add = (label, row, k, name, flat) => found.push({ label, row, k, tie: tied(name, flat) });
  const weights = (label, [columns, row], name, flat) =>
    row.forEach((w, k) => {
      const c = columns ? columns[k] : k;
      if (w) add(label(names[c]), row, k, name, flat(c));
    });
  const rows = (label, list, name) =>
    list.forEach((row, r) => {
      weights(
        (lane) => `${label(r)} ← ${lane}`,
        row.slice(1),
        name,
        (c) => r * width + c,
      );
      if (row[0]) add(`${label(r)} bias`, row, 0, `${name}_bias`, r);
    });
  if (key === "embed" && model.circle)
    ["radius", "first angle", "step"].forEach((name, k) =>
      add(`${name} of the circle`, model.circle.numbers, k, "circle", k),
    );
  else if (key === "embed")
    model.embed.forEach((row, t) =>
      weights(
        (lane) => `${lane} on '${model.vocabulary[t]}'`,
        row,
        "embedding",
        (c) => t * width + c,
      ),
    );
  if (key === "logits") {
    const { unembedding, bias } = model.readout,
      token = (o) => `logit of '${model.vocabulary[model.outputs[o]]}'`;
    if (unembedding) rows(token, unembedding, "unembedding");
    if (bias) bias.forEach((b, o) => b && add(`${token(o)} bias`, bias, o, "unembedding_bias", o));
  }
  const [layer, kind] = key.split(" "),
    block = model.blocks[layer % model.blocks.length],
    place = `blocks.${layer % model.blocks.length}`;
  if (kind === "attention")
    block.attention.heads.forEach((head, h) => {
      for (const part of ["query", "key", "value"]) {
        const many = head[part].length,
          label = (r) => `head ${h} ${part}${many > 1 ? ` ${r}` : ""}`;
        head[part].forEach((row, r) => {
          weights(
            (lane) => `${label(r)} ← ${lane}`,
            row.slice(1),
            `${place}.attention.${part}`,
            (c) => (h * many + r) * width + c,
          );
          if (row[0])
            add(`${label(r)} bias`, row, 0, `${place}.attention.${part}_bias`, h * many + r);
        });
      }
      if (head.slope) add(`head ${h} slope`, head, "slope", `${place}.attention.slopes`, h);
      (head.waves ?? []).forEach((_, k, all) =>
        add(`head ${h} wave ${k}`, all, k, `${place}.attention.waves`, h * all.length + k),
      );
      head.write.forEach((row, r) =>
        weights(
          (lane) => `head ${h} → ${lane}`,
          row,
          `${place}.attention.wiring`,
          (c) => (h * head.write.length + r) * width + c,
        ),
      );
    });
  if (kind === "mlp") {
    const { gate, up, down } = block.mlp;
    rows((n) => `unit ${n} gate`, gate, `${place}.mlp.gate`);
    if (up) rows((n) => `unit ${n} up`, up, `${place}.mlp.up`);
    down.forEach((row, n) =>
      weights(
        (lane) => `unit ${n} → ${lane}`,
        row,
        `${place}.mlp.down`,
        (c) => c * down.length + n,
      ),
    );
  }
  return found;
}
const allNumbers = (model) =>
  [
    "embed",
    ...model.blocks.flatMap((b, i) =>
      [b.attention && `${i} attention`, b.mlp && `${i} mlp`].filter(Boolean),
    ),
    "logits",
  ].flatMap((key) => numbersOf(model, key).map((n) => ({ ...n, key })));

function change(number, value) {
  // a tied number is changed everywhere it is read
  const { model } = state,
    same = number.tie === null ? [number] : allNumbers(model).filter((n) => n.tie === number.tie);
  model.edits ??= [];
  model.edits.push({
    label: number.label,
    from: number.row[number.k],
    to: value,
    undo: same.map(({ row, k }) => [row, k, row[k]]),
  });
  same.forEach(({ row, k }) => (row[k] = value));
  connect(model);
}
function undo(model) {
  model.edits.pop().undo.forEach(([row, k, value]) => (row[k] = value));
  connect(model);
}

// ---- problems -------------------------------------------------------------------------------------

function addition(text, w) {
  const words = text
      .trim()
      .split(/[\s+]+/)
      .filter(Boolean),
    size = w.digits + w.padding;
  if (words.length !== w.operands)
    throw Error(
      `${plural(words.length, "number")} given; this model adds ${w.operands}, e.g. 12 + 34`,
    );
  const values = words.map((word) => {
    const known = word.toLowerCase().replace(/^0+(?=.)/, "");
    if ([...known].some((c) => !w.symbols.includes(c)))
      throw Error(`'${word}' is not a whole number in base ${w.base}`);
    if (known.length > w.digits)
      throw Error(`'${word}' has ${known.length} digits; this model takes ${w.digits}`);
    return [...known].reduce((v, c) => v * BigInt(w.base) + BigInt(w.symbols.indexOf(c)), 0n);
  });
  const write = (v, n) => {
    const found = Array.from(v.toString(w.base).padStart(n, "0"));
    return (w.order === "most" ? found : found.reverse()).join("");
  };
  const prompt = "^" + values.map((v) => write(v, size)).join("+") + "=";
  return {
    prompt: Array.from(prompt),
    right: Array.from(
      write(
        values.reduce((a, b) => a + b, 0n),
        state.model.answer_length,
      ),
    ),
  };
}
const RIGHT = {
  // right answers of typed problems, from the numbers as written and the options of the task
  subtraction: ([a, b]) => BigInt(a) - BigInt(b),
  scaling: ([a], o) => BigInt(a) * BigInt(o.factor),
  multiplication: ([a, b]) => BigInt(a) * BigInt(b),
  maximum: ([a, b]) => (BigInt(a) > BigInt(b) ? a : b),
  comparison: ([a, b]) => (BigInt(a) < BigInt(b) ? "<" : BigInt(a) > BigInt(b) ? ">" : "="),
  conversion: ([a], o) => [...a].reduce((v, c) => v * BigInt(o.radix) + BigInt(c), 0n),
};
function padded(text, w) {
  const given = text.match(/\d+/g) ?? [];
  if (given.length !== w.widths.length)
    throw Error(
      `${plural(given.length, "number")} given; this model takes ${w.widths.length}, e.g. ${state.model.examples[0][0]}`,
    );
  const numbers = given.map((number, k) => {
    const odd = [...number].find((c) => !w.symbols.includes(c)),
      short = number.replace(/^0+(?=.)/, "");
    if (odd)
      throw Error(
        `'${odd}' in '${number}' is not a digit of this task (${[...w.symbols].join(" ")})`,
      );
    if (short.length > w.widths[k])
      throw Error(`'${number}' has ${short.length} digits; this model takes ${w.widths[k]}`);
    return short.padStart(w.widths[k], "0");
  });
  const right = RIGHT[w.task]?.(numbers, w.options);
  if (right < 0n) throw Error("the answer would be negative: give the larger number first");
  return {
    prompt: Array.from(w.between.map((mark, k) => mark + (numbers[k] ?? "")).join("")),
    right:
      right === undefined
        ? null
        : Array.from(String(right).padStart(state.model.answer_length, "0")),
  };
}
function understand(text) {
  const { model } = state,
    w = model.writing;
  const example = model.examples.find(([shown]) => shown === text.trim());
  if (example) return { prompt: example[1], right: example[2] };
  if (w.kind === "addition") return addition(text, w);
  if (w.kind === "numbers") return padded(text, w);
  if (w.kind === "examples")
    throw Error("choose a problem from the list: the prompts of this task cannot be typed here");
  const prompt = Array.from(w.head + text.trim() + w.tail),
    odd = prompt.find((t) => !model.vocabulary.includes(t));
  if (odd) throw Error(`'${odd}' is not a token of this model (${model.vocabulary.join(" ")})`);
  if (prompt.length + model.answer_length > 400)
    throw Error(`${prompt.length} tokens given; this page takes 400 with the answer`);
  return { prompt, right: null };
}

// The step worth opening on: the first wrong one, else one after the beginning that is no leading zero and no end.
function worthSeeing() {
  const { done, right, model } = state,
    { answer } = done;
  const wrong = right ? answer.findIndex((t, n) => t !== right[n]) : -1;
  if (wrong >= 0) return wrong;
  const found = answer.findIndex((t, n) => n > 0 && t !== "0" && t !== model.end);
  return found >= 0 ? found : answer.length - 1;
}
function ask(text, digit, stage, token, column) {
  $("error").textContent = "";
  try {
    Object.assign(state, understand(text), { text: text.trim() });
  } catch (error) {
    $("error").textContent = error.message;
    return false;
  }
  pause();
  state.done = decode(state.model, state.prompt);
  const within = (n, most, other) => (Number.isInteger(n) && n >= 0 && n <= most ? n : other);
  state.digit = within(digit, state.done.answer.length - 1, worthSeeing());
  state.stage = within(stage, stages().length - 1, state.done.run.steps.length);
  state.token = within(token, query(), query());
  choose(within(column, state.model.width - 1, null));
  draw();
  return true;
}
function again() {
  // the same question after a change
  const { digit, stage, token, column, text } = state;
  ask(text, digit, stage, token, column);
}

// The column to explain: the one given, or the first that this stage changes at the token (and the logit that wins).
function choose(column = null) {
  const { stage, token, done } = state,
    before = streamAt(Math.max(0, stage - 1))[token],
    after = streamAt(stage)[token];
  const changed = after.findIndex((v, c) => (stage === 0 ? v !== 0 : v !== before[c]));
  state.column = column ?? Math.max(0, changed);
  state.output = argmax(done.run.logits[query()]);
}

// ---- moving ---------------------------------------------------------------------------------------

function move(what, by) {
  const last = stages().length - 1,
    digitsLast = state.done.answer.length - 1;
  if (what === "digit") {
    state.digit = Math.max(0, Math.min(digitsLast, state.digit + by));
    state.token = query();
  } else if (what === "token") state.token = Math.max(0, Math.min(query(), state.token + by));
  else if (state.stage + by > last && state.digit < digitsLast)
    Object.assign(state, { stage: 0, digit: state.digit + 1 });
  else if (state.stage + by < 0 && state.digit > 0)
    Object.assign(state, { stage: last, digit: state.digit - 1 });
  else state.stage = Math.max(0, Math.min(last, state.stage + by));
  if (what === "stage") state.token = query();
  choose();
  draw();
}
function pause() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "▶ play";
  $("play").ariaPressed = "false";
}
function play() {
  if (state.timer) return pause();
  const atEnd = () => state.digit === state.done.answer.length - 1 && isLogits(state.stage);
  if (atEnd()) Object.assign(state, { digit: 0, stage: 0 });
  state.timer = setInterval(() => {
    move("stage", 1);
    if (atEnd()) pause();
  }, 900);
  $("play").textContent = "❚❚ pause";
  $("play").ariaPressed = "true";
}
const go = (stage, token, column) => {
  Object.assign(state, { stage, token });
  choose(column);
  draw();
};

// ---- drawing --------------------------------------------------------------------------------------

function draw() {
  const { model, text, digit, stage, token, column } = state;
  $("problem").value = text;
  try {
    history.replaceState(
      null,
      "",
      "#" + [model.name, text, digit, stage, token, column].map(encodeURIComponent).join("/"),
    );
  } catch {
    /* a frame of a notebook has no address */
  }
  const [, title] = stages()[stage];
  $("where").textContent =
    `answer token ${digit + 1} of ${state.done.answer.length} · ${title} · position ${token} '${tokenAt(token)}'`;
  drawTokens();
  drawWhy();
  drawProgram();
  drawStream();
  drawAttends();
  drawSum();
  drawLogits();
  drawChanges();
}

function drawTokens() {
  const { done, model, right, digit, token } = state,
    button = (t, className, label, onclick) =>
      make("button", { type: "button", className, textContent: t, ariaLabel: label, onclick });
  $("prompt").replaceChildren(
    ...done.tokens
      .slice(0, query() + 1)
      .map((id, i) =>
        button(
          model.vocabulary[id],
          `${i === query() ? "reads" : ""} ${i === token ? "now" : ""}`,
          `position ${i}: ${model.vocabulary[id]}`,
          () => go(state.stage, i),
        ),
      ),
  );
  const differs = (n) => right && done.answer[n] !== right[n];
  const row = (name, tokens, chip) =>
    make("div", { className: "tokens" }, make("b", { textContent: name }), ...tokens.map(chip));
  const given = row("model", done.answer, (t, n) =>
    button(
      t,
      `${differs(n) ? "wrong" : ""} ${n === digit ? "now" : ""}`,
      `answer token ${n + 1}: ${t}${differs(n) ? `, wrong, right is ${right[n] ?? "nothing"}` : ""}`,
      () => move("digit", n - state.digit),
    ),
  );
  const wrong =
    right && (done.answer.length !== right.length || done.answer.some((_, n) => differs(n)));
  $("answers").replaceChildren(
    given,
    ...(wrong
      ? [
          row("right", right, (t, n) =>
            make("span", { textContent: t, className: n === digit ? "now" : "" }),
          ),
        ]
      : []),
  );
  const got = done.answer.join(""),
    number = inNumbers(done.answer),
    wanted = right && inNumbers(right);
  $("verdict").className = right ? (wrong ? "bad" : "good") : "";
  $("verdict").textContent =
    `answers ${got}${number ? `, that is ${number}` : ""}` +
    (!right
      ? ". Whether that is right is not known here."
      : wrong
        ? `: wrong, right is ${right.join("")}${wanted ? `, that is ${wanted}` : ""}`
        : ": right");
}
function inNumbers(answer) {
  // a number as people write it, where the answer is one
  const { writing, places } = state.model,
    least = writing.kind === "addition" && writing.order === "least";
  if (!least && !places) return "";
  const text = (least ? [...answer].reverse() : answer).join("").replace(/^0+(?=.)/, "");
  return text === answer.join("") ? "" : text;
}

function ahead() {
  // the winner and by how much; of a wrong token also how far behind the right one is
  const { model, done, right, digit } = state,
    logits = done.run.logits[query()],
    order = logits.map((v, k) => [v, k]).sort((a, b) => b[0] - a[0]);
  const name = (k) => `'${model.vocabulary[model.outputs[k]]}'`,
    [[best, k], second] = order;
  const wanted = right && right[digit] !== undefined && right[digit] !== done.answer[digit];
  if (!wanted)
    return second
      ? `${name(k)} has the largest logit, ${show(best - second[0])} ahead of ${name(second[1])}`
      : `${name(k)} is the only token with a logit`;
  const at = model.outputs.indexOf(model.vocabulary.indexOf(right[digit]));
  return at < 0
    ? `the right token '${right[digit]}' has no logit`
    : `the model gives ${name(k)}: its logit is ${show(best - logits[at])} larger than that of '${right[digit]}', which would be right`;
}
function drawWhy() {
  const { model, done, right, digit, prompt } = state,
    w = model.writing,
    target = right ?? done.answer,
    logit = ahead();
  const sameSoFar =
    !right || done.answer.slice(0, digit).join("") === right.slice(0, digit).join("");
  const small = (n) => (n === 0 ? "1" : n === 1 ? String(w.base ?? 10) : `${w.base ?? 10}^${n}`);
  let said;
  if (!sameSoFar)
    said = `An earlier token was wrong already, so there is no right one here. By the readout ${logit}.`;
  else if (w.kind === "addition" && w.order === "least") {
    const value = (t) => w.symbols.indexOf(t),
      size = w.digits + w.padding,
      column = (n) =>
        Array.from({ length: w.operands }, (_, m) =>
          n < size ? value(prompt[1 + m * (size + 1) + n]) : 0,
        );
    const carry = Array.from({ length: digit }, (_, n) => n).reduce(
      (c, n) => Math.floor((column(n).reduce((a, b) => a + b, 0) + c) / w.base),
      0,
    );
    const sum = column(digit).reduce((a, b) => a + b, 0) + carry;
    said = `Digits come least significant first: column ${digit} adds ${column(digit).join(" + ")} and the carry ${carry}, which is ${sum}. Of that ${w.symbols[sum % w.base]} stays here and ${Math.floor(sum / w.base)} is carried on; ${logit}.`;
  } else if (model.places && target[digit] !== undefined) {
    const written = target.slice(0, digit).join(""),
      rest = target.slice(digit),
      shown = rest.join("").replace(/^0+(?=.)/, "");
    const units = rest.length > 1 ? `${rest[0]}.${rest.slice(1).join("")}` : rest[0];
    said = `${written ? `With '${written}' written, ${shown}` : shown} of the answer remains; in units of this place (${small(rest.length - 1)}) that is ${units}. The floor of it, ${rest[0]}, is the token to write, and ${logit}.`;
  } else {
    const { last, logits } = done.run,
      names = laneNames(model),
      order = logits[query()].map((v, k) => [v, k]).sort((a, b) => b[0] - a[0]);
    const [a, b] = order.map(([, k]) => model.rows[k][2]),
      x = last[query()];
    const terms = x
      .map((v, c) => [Math.abs(model.sign * (a[c] - (b ?? a.map(() => 0))[c]) * v), c])
      .filter(([t]) => t)
      .sort((p, q) => q[0] - p[0])
      .slice(0, 2);
    const read = terms.map(
      ([, c]) =>
        `${names[c]} = ${show(x[c])}${model.meanings[laneOf(model, c)] ? ` (${model.meanings[laneOf(model, c)]})` : ""}`,
    );
    said = `${read.length ? `What decides is ${read.join(" and ")}` : "Only biases decide here"}. By the readout ${logit}.`;
  }
  $("why").textContent = said;
  const claims =
      model.claims[model.examples.findIndex(([shown]) => shown === state.text)]?.[digit] ?? {},
    names = laneNames(model),
    stream = done.run.stream[query()];
  $("claimed").textContent =
    sameSoFar && !model.edits?.length
      ? Object.entries(claims)
          .map(([lane, value]) => {
            const held = stream[names.indexOf(lane)];
            return `Claimed of lane ${lane}: ${show(value)}; it holds ${show(held)}${held === value ? "" : `, ${brief(Math.abs(held - value))} off`}.`;
          })
          .join(" ")
      : "";
}

function drawProgram() {
  const { model, stage } = state;
  const nodes = stages().map(([key, title], k) => {
    const lit = k === stage,
      lines = model.equations
        ? model.equations.filter(([section]) => section === key).map(([, text]) => text)
        : described(key);
    const box = make(
      "div",
      { className: `sub${lit ? " lit" : ""}` },
      make("button", {
        type: "button",
        textContent: title,
        onclick: () => go(k, query()),
        ariaCurrent: lit ? "step" : "false",
      }),
      ...lines.map((text) => make("code", { textContent: text })),
    );
    if (lit) box.append(numberList(key));
    return box;
  });
  const first = $("program").contains(document.activeElement);
  $("program").replaceChildren(...nodes);
  if (first) $("program").querySelector(".sub.lit > button").focus();
  const changed = new Set(
    streamAt(stage).flatMap((row, i) =>
      row.flatMap((v, c) =>
        stage > 0 && !isLogits(stage) && i <= query() && v !== streamAt(stage - 1)[i][c]
          ? [laneOf(model, c)]
          : [],
      ),
    ),
  );
  const lanes = model.lanes.filter(([name]) => model.meanings[name]);
  $("glossary").replaceChildren(
    ...(lanes.length
      ? [
          make("h3", { textContent: "What the lanes mean" }),
          make(
            "dl",
            {},
            ...lanes.flatMap(([name]) => [
              make("dt", { textContent: name, className: changed.has(name) ? "lit" : "" }),
              make("dd", {
                textContent: model.meanings[name],
                className: changed.has(name) ? "lit" : "",
              }),
            ]),
          ),
        ]
      : []),
  );
}
function optionsOf(key) {
  // of a sublayer: a layer may have its own
  const { blocks, options: whole } = state.model,
    [layer] = key.split(" ");
  return blocks[layer % blocks.length]?.options ?? whole;
}
function described(key) {
  // a sublayer without equations, in general terms
  const { model } = state,
    o = optionsOf(key),
    norm = { none: "x", layer: "LayerNorm(x)", rms: "RMSNorm(x)" }[o.norm],
    read = o.post ? "x" : norm;
  const [layer, kind] = key.split(" "),
    block = model.blocks[layer % model.blocks.length],
    out = (f) =>
      o.post && o.norm !== "none" ? `x = ${norm.replace("x", `x + ${f}`)}` : `x += ${f}`;
  if (key === "embed")
    return [
      `x = ${model.circle ? "r (cos, sin)(first angle + step * place of the token)" : "embedding[token]"}${["learned", "sinusoidal"].includes(o.positions) ? ` + ${o.positions} position` : ""}   (${plural(model.width, "column")})`,
    ];
  if (key === "logits")
    return [
      `logits = U ${o.norm !== "none" && !o.post ? norm : "x"}${model.readout.bias ? " + b" : ""}`,
    ];
  if (kind === "attention")
    return [
      ...(o.positions === "waves"
        ? [
            `v = V of ${read}`,
            "score_ij = sum_k w_k cos((i - j) b_k) + w'_k sin((i - j) b_k), b_k = base^(-k/waves)",
          ]
        : [
            `q, k, v = Q, K, V of ${read}${o.positions === "rotary" ? ", q and k turned by position" : ""}`,
            `score_ij = q_i · k_j${o.scaled ? " / √d" : ""}${o.positions === "alibi" ? " + slope (j - i)" : ""}`,
          ]),
      `${out(`sum_j ${o.softmax}(score)_ij v_j`)}   (${plural(block.attention.heads.length, "head")})`,
    ];
  return [
    `${out(`D (${o.activation}(G ${read})${o.gated ? ` * (U ${read})` : ""})`)}   (${plural(block.mlp.gate.length, "unit")})`,
  ];
}
function numberList(key) {
  const { model } = state,
    list = numbersOf(model, key),
    changed = new Map(
      (model.edits ?? [])
        .flatMap((e) => e.undo.map(([row, k]) => [row, k]))
        .map(([row, k]) => [row, k]),
    );
  const apply = (number, text) => {
    const value = text.trim() === "" ? NaN : Number(text);
    if (!Number.isFinite(value))
      $("error").textContent = `'${text}' is not a number, e.g. 0, -1.5, 2e3`;
    else if (value !== number.row[number.k]) {
      change(number, value);
      again();
    }
  };
  const shown = list.slice(0, 60).flatMap((number, n) => {
    const value = number.row[number.k],
      input = make("input", {
        id: `number-${n}`,
        value: String(value),
        className: changed.get(number.row) === number.k ? "changed" : "",
        autocomplete: "off",
        onchange: () => apply(number, input.value),
      });
    return [
      make("label", { textContent: number.label, htmlFor: input.id }),
      input,
      make("button", {
        type: "button",
        textContent: "0",
        ariaLabel: `set ${number.label} to 0`,
        onclick: () => apply(number, "0"),
      }),
    ];
  });
  const box = make(
    "details",
    {},
    make("summary", { textContent: `its numbers (${list.length})` }),
    make("div", { className: "numbers" }, ...shown),
    list.length > 60
      ? make("p", { className: "hint", textContent: `${list.length - 60} more are not listed` })
      : null,
  );
  box.open = state.open ?? false;
  box.ontoggle = () => (state.open = box.open);
  return box;
}

const SVG = (tag, props, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const DASHES = ["", "5 3", "2 3", "8 3 2 3"];
function share(weight, low, high) {
  // of the thickest arrow: by decades where weights differ by more than 1000
  if (weight <= 0) return 0;
  return high / low > 1000 ? Math.max(0, 1 - Math.log10(high / weight) / 6) : weight / high;
}
function drawStream() {
  const { model, stage, token, column, done } = state,
    names = laneNames(model),
    after = streamAt(stage),
    before = stage === 0 ? null : streamAt(stage - 1);
  const narrow = innerWidth < 900,
    gutter = narrow ? 44 : 60,
    count = query() + 1;
  const head = make(
    "thead",
    {},
    make(
      "tr",
      {},
      make("th", { textContent: "token", scope: "col" }),
      ...names.map((name) => make("th", { textContent: name, scope: "col" })),
    ),
  );
  const body = make(
    "tbody",
    {},
    ...Array.from({ length: count }, (_, i) =>
      make(
        "tr",
        { className: i === query() ? "reads" : "" },
        make("th", {
          textContent: `${String(i).padStart(2, "\u2007")} ${tokenAt(i)}`,
          scope: "row",
        }),
        ...names.map((name, c) => {
          const v = after[i][c],
            lit = before ? v !== before[i][c] : v !== 0,
            chosen = i === token && c === column && !isLogits(stage);
          const cell = make("td", {
            textContent: brief(v),
            className: `${v === 0 ? "none" : ""}${lit && !isLogits(stage) ? " lit" : ""}${chosen ? " chosen" : ""}`,
            role: "gridcell",
            tabIndex: i === token && c === column ? 0 : -1,
            onclick: () => focusCell(i, c),
          });
          cell.dataset.at = `${i} ${c}`;
          return cell;
        }),
      ),
    ),
  );
  const table = make(
    "table",
    {
      role: "grid",
      ariaLabel: `residual stream after ${stages()[stage][1]}: a row for each token, a column for each lane`,
    },
    head,
    body,
  );
  table.onkeydown = (event) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ];
    if (!by || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    focusCell(
      Math.max(0, Math.min(count - 1, state.token + by[0])),
      Math.max(0, Math.min(names.length - 1, state.column + by[1])),
    );
  };
  const step = stepAt(stage),
    arcs = SVG("svg", { width: gutter, height: 24 * (count + 1), "aria-hidden": "true" });
  if (step?.kind === "attention")
    step.heads.forEach((h, k) => {
      const { weights } = h.at[token],
        positive = weights.filter((w) => w > 0),
        high = Math.max(...positive),
        low = Math.min(...positive),
        y = (i) => 24 * (i + 1.5),
        x = gutter - 4;
      weights.forEach((w, j) => {
        const part = share(w, low, high),
          b = (gutter - 10) * (0.25 + (0.75 * (token - j)) / Math.max(1, token)) - 3 * k;
        if (part < 0.03 || j === token) return;
        arcs.append(
          SVG("path", {
            class: "arc",
            d: `M${x} ${y(j)} C${x - b} ${y(j)} ${x - b} ${y(token)} ${x} ${y(token)}`,
            stroke: k % 2 ? "var(--minus)" : "var(--plus)",
            "stroke-width": 0.5 + 3.5 * part,
            "stroke-dasharray": DASHES[k % 4],
            opacity: h.value[j].some((v) => v) ? 0.75 : 0.15,
          }),
        );
      });
      arcs.append(
        SVG("path", {
          d: `M${x} ${y(token)} l-8 -5 v10 z`,
          fill: k % 2 ? "var(--minus)" : "var(--plus)",
        }),
      );
    });
  const inside = $("stream").contains(document.activeElement),
    old = $("stream").firstChild,
    at = old && [old.scrollLeft, old.scrollTop];
  const scroll = make(
    "div",
    { className: "scroll" },
    make("div", { className: "grid" }, arcs, table),
  );
  $("stream").replaceChildren(scroll);
  if (at) [scroll.scrollLeft, scroll.scrollTop] = at;
  const cell = scroll.querySelector(`[data-at="${token} ${column}"]`);
  if (cell) {
    // keep it in sight inside its box, without moving the page
    const top = cell.offsetTop,
      box = scroll.clientHeight;
    if (top < scroll.scrollTop + 30 || top > scroll.scrollTop + box - 60)
      scroll.scrollTop = top - box / 2;
    const left = cell.offsetLeft,
      wide = scroll.clientWidth;
    if (left < scroll.scrollLeft + 90 || left > scroll.scrollLeft + wide - 90)
      scroll.scrollLeft = left - wide / 2;
    if (inside) cell.focus({ preventScroll: true });
  }
  $("stream-hint").textContent = isLogits(stage)
    ? "The stream after the last sublayer; the readout turns its marked row into logits."
    : `What every token holds after ${stages()[stage][1]}. Choose a cell to see the sum that made it; the arrow keys move.`;
  $("arcs-legend").hidden = step?.kind !== "attention";
}
function focusCell(i, c) {
  if (isLogits(state.stage)) state.stage -= 1;
  Object.assign(state, { token: i, column: c });
  draw();
  document.querySelector(`[data-at="${i} ${c}"]`)?.focus({ preventScroll: true });
}

// What each head attends to, and what it means that it attends to nothing, in words.
function drawAttends() {
  const step = stepAt(state.stage),
    { model, token } = state;
  const said =
    step?.kind !== "attention"
      ? []
      : step.heads.map((head, h) => {
          const { weights, nothing, output } = head.at[token],
            seen = weights.reduce((a, b) => a + b, 0),
            best = weights.indexOf(Math.max(...weights));
          const writes = [
            ...new Set(
              head.write.flatMap(([columns, row]) =>
                row
                  .map((w, k) => (w ? laneNames(model)[columns ? columns[k] : k] : ""))
                  .filter(Boolean),
              ),
            ),
          ];
          const mark = `Head ${h}${head.slope ? ` (slope ${show(head.slope)})` : ""}`,
            into = writes.length
              ? ` It adds ${output.length === 1 ? `${show(output[0])} to ` : "to "}${writes.length > 4 ? "the stream" : writes.join(", ")}.`
              : "";
          const even = weights.length > 1 && Math.max(...weights) < 1.01 * Math.min(...weights);
          const most = even
            ? `the same to each of the ${weights.length} tokens`
            : seen
              ? `${Math.max(...weights) / seen > 0.999 ? "all of it" : `most, ${((100 * weights[best]) / seen).toPrecision(3)} %,`} to '${tokenAt(best)}' at position ${best}`
              : "none of it to a token";
          if (nothing < 1e-9) return `${mark} attends to the tokens only, ${most}.${into}`;
          if (nothing > 0.999)
            return `${mark} attends to nothing, nearly: softmax1 divides by 1 + Σ e^score, all scores are far below 0, and so each token j gets e^score_j, together ${brief(seen)}. That is a plain weighted sum; the large factor in the value makes up for the small weights. It gives ${most}.${into}`;
          return `${mark} gives ${(100 * seen).toPrecision(3)} % of its attention to tokens and the rest to nothing (softmax1 may do that), ${most}.${into}`;
        });
  $("attends").replaceChildren(
    ...said.map((text) => make("p", { className: "hint", textContent: text })),
  );
}

// The terms of a cell: {value, label, detail, link: [stage, token, column] | null}.
function termsOf(stage, i, c) {
  const { model, done } = state,
    step = stepAt(stage),
    found = [],
    at = (columns) => (columns ? columns.indexOf(c) : c);
  const source = ([, columns, weights], row) => {
    // the column that counts most in a row of weights
    const sizes = weights.map((w, k) => Math.abs(w * row[columns ? columns[k] : k])),
      k = sizes.indexOf(Math.max(...sizes));
    return k < 0 ? null : columns ? columns[k] : k;
  };
  const link = (j, column) => (column === null ? null : [stage - 1, j, column]);
  if (stage === 0) {
    const [columns, weights] = model.embed[done.tokens[i]];
    found.push({
      label: `embedding of '${tokenAt(i)}'`,
      value: weights[at(columns)] ?? 0,
      detail: "",
      link: null,
    });
    const place = placeRow(model, i)[c];
    if (place !== undefined)
      found.push({ label: `position ${i}`, value: place, detail: "", link: null });
    return found;
  }
  found.push({ label: "before", value: step.before[i][c], detail: "", link: [stage - 1, i, c] });
  if (step.kind === "attention")
    step.heads.forEach((head, h) =>
      head.write.forEach(([columns, weights], r) => {
        const w = weights[at(columns)];
        if (!w) return;
        head.at[i].weights.forEach((p, j) => {
          const detail = `${show(p)} × ${show(head.value[j][r])}${w === 1 ? "" : ` × ${show(w)}`}`;
          found.push({
            label: `${step.heads.length > 1 ? `head ${h}, ` : ""}${j} '${tokenAt(j)}'`,
            value: p * head.value[j][r] * w,
            detail,
            link: link(j, source(step.part.heads[h].value[r], step.read[j])),
          });
        });
      }),
    );
  else
    step.part.down.forEach(([columns, weights], n) => {
      const w = weights[at(columns)],
        { gate, up, output } = step.units[i];
      if (!w) return;
      const name = step.options.activation,
        detail = `${w === 1 ? "" : `${show(w)} × `}${name}(${show(gate[n])})${step.options.gated ? ` × ${show(up[n])}` : ""}`;
      found.push({
        label: `unit ${n}`,
        value: w * output[n],
        detail,
        link: link(
          i,
          source(step.part.gate[n], step.read[i]) ??
            (step.part.up ? source(step.part.up[n], step.read[i]) : null),
        ),
      });
    });
  return found;
}
function drawSum() {
  const { model, stage, token, column, done, output } = state,
    names = laneNames(model),
    nodes = [];
  let terms,
    total,
    title,
    note = "";
  if (isLogits(stage)) {
    const [bias, , weights] = model.rows[output],
      x = done.run.last[query()];
    terms = weights.flatMap((w, c) =>
      w
        ? [
            {
              label: names[c],
              value: model.sign * w * x[c],
              detail: `${show(model.sign * w)} × ${show(x[c])}`,
              link: [stage - 1, query(), c],
            },
          ]
        : [],
    );
    if (bias) terms.push({ label: "bias", value: model.sign * bias, detail: "", link: null });
    total = done.run.logits[query()][output];
    title = `The sum that made the logit of '${model.vocabulary[model.outputs[output]]}'`;
    if (model.norm) note = "The readout reads the stream after the last norm.";
  } else {
    terms = termsOf(stage, token, column);
    const step = stepAt(stage);
    total = (step ? step.sum : done.run.embedded)[token][column];
    title = `The sum that made ${names[column]} at ${token} '${tokenAt(token)}', ${stages()[stage][1]}`;
    if (step?.part.norm)
      note = step.options.post
        ? `The norm then makes it ${show(step.after[token][column])}.`
        : "This sublayer reads the stream after a norm.";
  }
  const nonzero = terms.filter((t) => t.value !== 0),
    largest = Math.max(...nonzero.map((t) => Math.abs(t.value))),
    kept = [],
    rest = [];
  const order = [...nonzero].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 40);
  for (const term of nonzero)
    (order.includes(term) && Math.abs(term.value) > 1e-9 * largest ? kept : rest).push(term);
  if (rest.length)
    kept.push({
      label: `${plural(rest.length, "smaller term")}`,
      value: rest.reduce((a, t) => a + t.value, 0),
      detail: "",
      link: null,
    });
  const negative = kept.some((t) => t.value < 0);
  for (const { label, value, detail, link } of kept) {
    const rod = make("span", { className: `rod${value < 0 ? " minus" : ""}` }),
      part = largest ? Math.abs(value) / largest : 0,
      room = negative ? 50 : 100;
    rod.style.width = `${Math.max(0.5, room * Math.min(1, part))}%`;
    rod.style[value < 0 ? "right" : "left"] = `${negative ? 50 : 0}%`;
    const words = `${label}: ${detail ? `${detail} = ` : ""}${show(value)}`;
    nodes.push(
      make(
        "div",
        { className: "sum" },
        make("div", { className: "track" }, rod),
        link
          ? make("button", { type: "button", textContent: words, onclick: () => go(...link) })
          : make("span", { textContent: words }),
      ),
    );
  }
  if (!kept.length)
    nodes.push(
      make("p", { className: "hint", textContent: "Nothing was added here: every term is 0." }),
    );
  nodes.push(
    make(
      "div",
      { className: "sum total" },
      make("span", { textContent: "sum" }),
      make("span", { textContent: show(total) }),
    ),
  );
  if (note) nodes.push(make("p", { className: "hint", textContent: note }));
  $("sum-title").textContent = title;
  $("sum").replaceChildren(...nodes);
}

function drawLogits() {
  const { model, done, right, digit } = state,
    logits = done.run.logits[query()],
    best = Math.max(...logits),
    gaps = logits.map((v) => best - v);
  const most = Math.max(...gaps) || 1,
    least = Math.min(...gaps.filter((v) => v > 0)),
    steep = most / least > 1000;
  const rows = logits.map((v, k) => {
    const token = model.vocabulary[model.outputs[k]],
      gap = gaps[k],
      rod = make("span", { className: "rod" });
    rod.style.width = `${100 * (gap === 0 ? 1 : steep ? 0.9 - (0.85 * Math.log(gap / least)) / Math.log(most / least) : 0.9 * (1 - gap / most))}%`;
    return [
      gap,
      make(
        "div",
        {
          className: `logit${gap === 0 ? " best" : ""}${right && right[digit] === token ? " right" : ""}`,
        },
        make("div", { className: "track" }, rod),
        make("button", {
          type: "button",
          textContent: `'${token}' ${gap === 0 ? show(v) : `${show(gap)} below`}`,
          onclick: () => {
            state.stage = stages().length - 1;
            choose();
            state.output = k;
            draw();
          },
        }),
      ),
    ];
  });
  if (rows.length > 24) rows.sort((a, b) => a[0] - b[0]).splice(24);
  $("margin").textContent =
    `How far each token is below the winner${steep ? ", on a scale of decades" : ""}. ${rows.length < logits.length ? `The ${rows.length} largest of ${logits.length}. ` : ""}Choose one to see its sum.`;
  $("logits").replaceChildren(...rows.map(([, node]) => node));
}

function drawChanges() {
  const { model } = state,
    edits = model.edits ?? [];
  const back = (all) => {
    do undo(model);
    while (all && model.edits.length);
    again();
  };
  $("changes").replaceChildren(
    ...(edits.length
      ? [
          make("h3", { textContent: "Changed by you" }),
          ...edits.map((e) =>
            make("p", {
              className: "hint",
              textContent: `${e.label}: ${show(e.from)} → ${show(e.to)}`,
            }),
          ),
          make(
            "div",
            { className: "row" },
            make("button", { type: "button", textContent: "undo", onclick: () => back(false) }),
            make("button", { type: "button", textContent: "undo all", onclick: () => back(true) }),
          ),
        ]
      : []),
  );
}

// ---- hard cases, breaking it ----------------------------------------------------------------------

function nextWrong(model, from = 0) {
  // the next problem of the list that comes out wrong, within two seconds
  const began = performance.now(),
    known = model.examples.length;
  for (let n = 0; n < known && performance.now() - began < 2000; n++) {
    const k = (from + n) % known,
      [, prompt, right] = model.examples[k];
    if (right && firstWrong(model, prompt, right) >= 0) return k;
  }
  return -1;
}
function breakIt() {
  const { model } = state,
    at = nextWrong(model, state.hard + 1);
  if (at >= 0) {
    state.hard = at;
    return ask(model.examples[at][0]);
  }
  const numbers = allNumbers(model).filter((n) => n.row[n.k]),
    start = (state.tried = (state.tried ?? -1) + 7) % numbers.length;
  for (let n = 0; n < Math.min(numbers.length, 40); n++) {
    const number = numbers[(start + n) % numbers.length],
      stage = stages().findIndex(([key]) => key === number.key);
    change(number, 0);
    const wrong = nextWrong(model);
    if (wrong < 0) {
      undo(model);
      continue;
    }
    ask(model.examples[wrong][0], undefined, stage);
    $("error").textContent =
      `No problem of the list comes out wrong. So the page set a number to 0 (${number.label}), and this one does: undo it below.`;
    return true;
  }
  $("error").textContent =
    "No problem of the list comes out wrong, not even with any of 40 numbers set to 0.";
}

// ---- the proof ------------------------------------------------------------------------------------

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Uint8Array(
    await new Response(
      new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")),
    ).arrayBuffer(),
  );
}
async function checkerSource() {
  return new TextDecoder().decode(await unpack($("checker").textContent));
}
function drawProof() {
  const { model } = state,
    box = $("proof");
  if (!model.proof)
    return box.replaceChildren(
      make("p", {
        className: "hint",
        textContent:
          "No certificate comes with this model: what is known of it is a matter of testing.",
      }),
    );
  const [weights, description, certificate] = model.proof,
    result = make("p", { id: "proved", role: "status" });
  const run = async (read) => {
    result.className = "";
    const bar = make("progress", { ariaLabel: "branches of the proof checked", value: 0 });
    result.replaceChildren("checking ..", bar);
    try {
      if (typeof Check === "undefined")
        document.head.append(make("script", { textContent: await checkerSource() }));
      const files = [await unpack(weights), await unpack(description), await read()],
        steps = Check.checker(...files);
      let step = steps.next();
      for (let began = performance.now(); !step.done; step = steps.next())
        if (performance.now() - began > 40) {
          Object.assign(bar, { max: step.value.total, value: step.value.done });
          await new Promise((resume) => setTimeout(resume));
          began = performance.now();
        }
      const { problems, margin, claims, sha256 } = step.value,
        off = differences(model, step.value.model);
      result.className = off ? "bad" : "good";
      result.textContent = off
        ? `The proof holds, but not of the weights that this page runs: ${off}`
        : `PROVED, checked here in your browser: the right token has the largest logit in all ${problems.toLocaleString("en")} problems, by ${show(margin)} or more. ${claims} bounds were recomputed from these very weights (sha256 ${sha256.slice(0, 12)}..).`;
    } catch (reason) {
      result.className = "bad";
      result.textContent = `REJECTED: ${reason.message}`;
    }
  };
  const file = make("input", {
    type: "file",
    accept: ".json",
    onchange: () =>
      file.files[0] && run(async () => new Uint8Array(await file.files[0].arrayBuffer())),
  });
  const button =
    certificate &&
    make("button", {
      type: "button",
      id: "check",
      textContent: "check the proof",
      onclick: () => run(() => unpack(certificate)),
    });
  const source = make(
    "details",
    {},
    make("summary", { textContent: "read the checker" }),
    make("pre", { tabIndex: 0 }),
  );
  source.ontoggle = async () => (source.lastChild.textContent = await checkerSource());
  box.replaceChildren(
    ...(button ? [button] : []),
    source,
    make(
      "details",
      {},
      make("summary", { textContent: "check a certificate.json of yours" }),
      make("label", {}, "file ", file),
    ),
    result,
  );
}
function differences(model, proved) {
  // where the page's numbers are not those of the proof; "" where they are the same
  const dense = (columns, weights) => {
    const row = new Array(model.width).fill(0);
    weights.forEach((w, k) => (row[columns ? columns[k] : k] = w));
    return row;
  };
  if (model.edits?.length) return "you have changed some; undo that first.";
  const rows = (list) => list.map(([, columns, weights]) => dense(columns, weights)),
    biases = (list) => list.map(([b]) => b);
  const transposed = (list) =>
    list.length ? list[0].map((_, c) => list.map((row) => row[c])) : [];
  const mine = [
    model.vocabulary,
    model.outputs.map((t) => model.vocabulary[t]),
    model.sign < 0,
    model.embed.map(([c, w]) => dense(c, w)),
    rows(model.rows),
    biases(model.rows),
    model.blocks.map(({ attention, mlp }) => {
      const heads = attention?.heads ?? [],
        parts = ["query", "key", "value"].flatMap((n) => [
          heads.map((h) => rows(h[n])),
          heads.map((h) => biases(h[n])),
        ]);
      return [
        parts,
        heads.map((h) => h.slope),
        heads.map((h) => h.write.map(([c, w]) => dense(c, w))),
        ...["gate", "up"].flatMap((n) => [rows(mlp?.[n] ?? []), biases(mlp?.[n] ?? [])]),
        mlp ? mlp.down.map(([c, w]) => dense(c, w)) : [],
      ];
    }),
  ];
  const theirs = [
    proved.vocabulary,
    proved.outputs,
    !!proved.argmin,
    proved.embedding,
    proved.readout,
    proved.biases,
    proved.layers.map((l) => [
      ["query", "key", "value"].flatMap((n) => [l[n], l[`${n}_bias`]]),
      l.slopes,
      l.wiring,
      l.gate,
      l.gate_bias,
      l.up,
      l.up_bias,
      transposed(l.down),
    ]),
  ];
  const usual = ["softmax1", "alibi", false, "none", "relu", true, 1, model.blocks.map(() => null)],
    o = model.options,
    mineToo = [
      o.softmax,
      o.positions,
      o.scaled,
      o.norm,
      o.activation,
      o.gated,
      o.repeat,
      model.blocks.map((b) => b.options),
    ];
  const plain = (data) => JSON.stringify(data, (_, v) => (v === 0 ? 0 : v)); // -0 is 0
  return plain([mine, mineToo]) === plain([theirs, usual]) ? "" : "they differ.";
}

// ---- controls -------------------------------------------------------------------------------------

function chooseModel(name, text, ...place) {
  state.model = MODELS.find((m) => m.name === name) ?? MODELS[0];
  const { model } = state;
  state.hard = 0;
  $("model").value = model.name;
  $("about").textContent = model.about;
  $("introduction").textContent = model.introduction;
  $("examples").replaceChildren(
    ...model.examples.map(([shown]) => make("option", { value: shown })),
  );
  drawProof();
  if (!ask(text || GIVEN.problem || model.examples[0][0], ...place)) {
    const said = $("error").textContent;
    ask(model.examples[0][0]);
    $("error").textContent = said;
  }
}
$("model").append(...MODELS.map((m) => make("option", { value: m.name, textContent: m.name })));
$("model").onchange = () => chooseModel($("model").value);
$("ask").onsubmit = (event) => {
  event.preventDefault();
  ask($("problem").value);
};
$("hard").onclick = () => {
  state.hard = (state.hard + 1) % state.model.examples.length;
  ask(state.model.examples[state.hard][0]);
};
$("break").onclick = breakIt;
$("play").onclick = play;
$("theme").onclick = () => {
  const dark =
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  $("theme").textContent = dark ? "dark" : "light";
};
document.querySelectorAll("[data-move]").forEach((button) => {
  const [what, by] = button.dataset.move.split(" ");
  button.onclick = () => {
    pause();
    move(what, +by);
  };
});
document.onkeydown = (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (
    !by ||
    /INPUT|SELECT|TEXTAREA/.test(event.target.tagName) ||
    event.ctrlKey ||
    event.altKey ||
    event.metaKey
  )
    return;
  event.preventDefault();
  pause();
  move(event.shiftKey ? "digit" : "stage", by);
};
function fromAddress() {
  const [name, text, ...place] = location.hash.slice(1).split("/").map(decodeURIComponent);
  chooseModel(name, text, ...place.map((n) => (n === "" ? undefined : +n)));
}
addEventListener("hashchange", fromAddress);
fromAddress();
