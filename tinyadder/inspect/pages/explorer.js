"use strict";
// The page around machine.js: choose a model and a problem, step through the answer, look at every number.
const MODELS = JSON.parse(document.getElementById("models").textContent).map(load);
const $ = (id) => document.getElementById(id);
const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const show = (v) => {
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size >= 1e-3 && size < 1e5 ? String(+v.toPrecision(6)) : v.toExponential(3).replace(/\.?0+e/, "e");
};
const state = { model: MODELS[0], shown: "", prompt: [], right: null, done: null, step: 0, hard: 0 };

function laneNames(model) {
  return model.lanes.flatMap(([name, width]) => Array.from({ length: width }, (_, i) => (width === 1 ? name : `${name}[${i}]`)));
}

// ---- problems -------------------------------------------------------------------------------------

function addition(text, w) {
  const words = text.trim().split(/[\s+]+/).filter(Boolean), size = w.digits + w.padding;
  if (words.length !== w.operands) throw Error(`${words.length} numbers given; this model adds ${w.operands}, e.g. 12 + 34`);
  const values = words.map((word) => {
    const digits = word.toLowerCase().replace(/^0+(?=.)/, "");
    if ([...digits].some((c) => !w.symbols.includes(c))) throw Error(`'${word}' is not a whole number in base ${w.base}`);
    if (digits.length > w.digits) throw Error(`'${word}' has ${digits.length} digits; this model takes ${w.digits}`);
    return [...digits].reduce((v, c) => v * BigInt(w.base) + BigInt(w.symbols.indexOf(c)), 0n);
  });
  const write = (v, n) => {
    const digits = Array.from(v.toString(w.base).padStart(n, "0"));
    return (w.order === "most" ? digits : digits.reverse()).join("");
  };
  const prompt = "^" + values.map((v) => write(v, size)).join("+") + "=";
  return { prompt: Array.from(prompt), right: Array.from(write(values.reduce((a, b) => a + b, 0n), state.model.answer_length)) };
}

function understand(text) {
  const model = state.model, w = model.writing;
  const example = model.examples.find(([shown]) => shown === text.trim());
  if (example) return { prompt: example[1], right: example[2] };
  if (w.kind === "addition") return addition(text, w);
  if (w.kind === "examples") throw Error("choose a problem from the list: this task's prompts cannot be typed here");
  const prompt = Array.from(w.head + text.trim() + w.tail);
  const odd = prompt.find((t) => !model.vocabulary.includes(t));
  if (odd) throw Error(`'${odd}' is not a token of this model (${model.vocabulary.join(" ")})`);
  return { prompt, right: null };
}

function ask(text, step) {
  $("error").textContent = "";
  try {
    Object.assign(state, understand(text), { shown: text.trim() });
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  state.done = decode(state.model, state.prompt);
  const wrong = state.right ? state.done.answer.findIndex((t, i) => t !== state.right[i]) : -1;
  state.step = Math.min(step ?? (wrong >= 0 ? wrong : 0), state.done.answer.length - 1);
  draw();
}

// ---- drawing --------------------------------------------------------------------------------------

function draw() {
  const { done, step } = state, query = done.start + step - 1;
  $("problem").value = state.shown;
  history.replaceState(null, "", "#" + [state.model.name, state.shown, step].map(encodeURIComponent).join("/"));
  drawText(query);
  drawHeads(query);
  drawLanes(query);
  drawLogits(query);
}

function drawText(query) {
  const { done, model, right, step } = state;
  $("text").replaceChildren(...done.tokens.map((token, i) => {
    const n = i - done.start, answer = n >= 0, wrong = answer && right && model.vocabulary[token] !== right[n];
    const kind = `token${answer ? " answer" : ""}${wrong ? " wrong" : ""}${i === query ? " query" : ""}${n === step ? " chosen" : ""}`;
    const node = make(answer ? "button" : "span", { className: kind, textContent: model.vocabulary[token] });
    if (answer) node.onclick = () => { state.step = n; draw(); };
    if (wrong) node.title = `right: ${right[n] ?? "(nothing)"}`;
    return node;
  }));
  const got = done.answer.join(""), want = right && right.join("");
  $("verdict").className = right ? (got === want ? "good" : "bad") : "";
  $("verdict").textContent = !right ? `answers ${got}` : got === want ? `answers ${got}: right` : `answers ${got}; right is ${want}`;
}

function colour(weight, low, high) {
  if (weight <= 0) return "transparent";
  const span = Math.log(high / low);
  const share = $("log").checked && span > 1e-9 ? Math.log(weight / low) / span : weight / high;
  return `rgba(0, 114, 178, ${0.06 + 0.94 * Math.max(0, Math.min(1, share))})`;
}

function drawHeads(query) {
  const { model, done } = state, names = laneNames(model), nodes = [];
  for (const part of done.run.steps.filter((s) => s.kind === "attention"))
    part.heads.forEach((head, h) => {
      const at = head.at[query], positive = at.weights.filter((w) => w > 0);
      const low = Math.min(...positive), high = Math.max(...positive);
      head.write.forEach(([columns, weights], r) => {
        if (!weights.length) return; // a row that only fills up a layer of heads of unequal width
        const where = weights.length > 6 ? "the stream" : weights.map((_, k) => names[columns ? columns[k] : k]).join(", ");
        const terms = at.weights.map((w, j) => w * head.value[j][r]);
        const most = Math.max(...terms.map(Math.abs)) || 1, negative = terms.some((t) => t < 0);
        nodes.push(make("div", { className: "head", textContent: `layer ${part.layer}, head ${h}${at.output.length > 1 ? ` row ${r}` : ""} adds ${show(at.output[r])} to ${where}; to nothing goes ${show(at.nothing)} of the attention` }));
        nodes.push(make("div", { className: "strip" }, ...terms.map((term, j) => {
          const tall = `${Math.round(46 * Math.abs(term) / most)}px`;
          const bar = make("div", { className: "bar" });
          bar.style.height = term === 0 ? "0" : tall;
          const cell = make("div", { className: "cell" });
          cell.style.background = colour(at.weights[j], low, high);
          const token = model.vocabulary[done.tokens[j]];
          return tip(make("div", { className: "key" },
            make("div", { className: "bars" }, ...(term > 0 ? [bar] : [])), cell,
            ...(negative ? [make("div", { className: "bars below" }, ...(term < 0 ? [bar] : []))] : []), token),
            `position ${j} '${token}'\nscore        ${show(at.scores[j])}\nweight       ${show(at.weights[j])}\nvalue        ${show(head.value[j][r])}\ncontribution ${show(term)}`);
        })));
      });
    });
  $("heads").replaceChildren(...(nodes.length ? nodes : ["this model has no attention"]));
}

// The sum that made a cell: what each head row or hidden unit added to this column.
function reasons(part, column, query, before, after) {
  const added = part.added[query].flatMap(([columns, weights, factor], source) => {
    const k = columns ? columns.indexOf(column) : column;
    return k < 0 || k >= weights.length || !weights[k] * factor ? [] : [[weights[k], factor, source]];
  });
  const kind = part.kind === "attention" ? "head output" : "hidden unit";
  const lines = added.slice(0, 12).map(([w, f]) => `+ ${show(w)} * ${show(f)}   (${kind})`);
  if (added.length > 12) lines.push(`+ ${added.length - 12} more`);
  return [`before ${show(before)}`, ...lines, `= ${show(after)}`].join("\n");
}

function drawLanes(query) {
  const { model, done } = state, names = laneNames(model), steps = done.run.steps;
  const table = make("table");
  table.append(make("tr", {}, ...["lane", "embedding", ...steps.map((s) => `layer ${s.layer} ${s.kind}`)].map((t) => make("th", { textContent: t }))));
  names.forEach((name, column) => {
    const row = make("tr", {}, make("th", { textContent: name }));
    const first = done.run.embedded[query][column];
    row.append(tip(make("td", { textContent: show(first), className: first === 0 ? "none" : "" }), `embedding of '${model.vocabulary[done.tokens[query]]}'`));
    for (const part of steps) {
      const before = part.before[query][column], after = part.after[query][column];
      const cell = make("td", { textContent: show(after), className: before !== after ? "lit" : after === 0 ? "none" : "" });
      row.append(tip(cell, before !== after ? reasons(part, column, query, before, after) : "unchanged"));
    }
    table.append(row);
  });
  $("lanes").replaceChildren(make("div", { className: "scroll" }, table));
}

function drawLogits(query) {
  const { model, done, right, step } = state, logits = done.run.logits[query], names = laneNames(model);
  const best = Math.max(...logits), below = logits.map((v) => best - v), most = Math.max(...below) || 1;
  const order = [...logits].sort((a, b) => b - a), least = Math.min(...below.filter((v) => v > 0));
  const rows = logits.map((v, k) => {
    const token = model.vocabulary[model.outputs[k]], gap = below[k];
    const share = $("log").checked && gap > 0 && most > least ? 1 - Math.log(gap / least) / Math.log(most / least) * 0.9 : 1 - gap / most;
    const rod = make("span", { className: "rod" });
    rod.style.width = `${Math.max(1, Math.round(360 * share * (gap > 0 ? 0.9 : 1)))}px`;
    const [bias, columns, weights] = model.readout[k];
    const sum = weights.length > 8 ? "" : weights.map((w, i) => `${show(w)} * ${names[columns ? columns[i] : i]}`).join(" + ") + (bias ? ` + ${show(bias)}` : "");
    const node = make("div", { className: `logit${gap === 0 ? " best" : ""}${right && right[step] === token ? " right" : ""}` },
      make("b", { textContent: token }), rod, make("span", { textContent: gap === 0 ? show(v) : `${show(v)}   (${show(gap)} below)` }));
    return sum ? tip(node, (model.sign < 0 ? "minus " : "") + sum) : node;
  });
  const margin = make("p", { className: "hint", textContent: `'${state.done.answer[step]}' wins by ${show(order[0] - order[1])}; the right token is underlined` });
  $("logits").replaceChildren(margin, ...rows);
}

function tip(node, text) {
  node.onmouseenter = (event) => {
    const box = $("tip");
    box.textContent = text;
    box.hidden = false;
    const { clientX: x, clientY: y } = event;
    box.style.left = `${Math.min(x + 14, innerWidth - box.offsetWidth - 8)}px`;
    box.style.top = `${y + 18 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 8 : y + 18}px`;
  };
  node.onmouseleave = () => ($("tip").hidden = true);
  return node;
}

// ---- controls -------------------------------------------------------------------------------------

function choose(name, text, step) {
  state.model = MODELS.find((m) => m.name === name) ?? MODELS[0];
  state.hard = 0;
  $("model").value = state.model.name;
  $("about").textContent = state.model.about;
  $("examples").replaceChildren(...state.model.examples.map(([shown]) => make("option", { value: shown })));
  ask(text ?? state.model.examples[0][0], step);
}

$("model").append(...MODELS.map((m) => make("option", { value: m.name, textContent: m.name })));
$("model").onchange = () => choose($("model").value);
$("ask").onsubmit = (event) => { event.preventDefault(); ask($("problem").value); };
$("hard").onclick = () => { state.hard = (state.hard + 1) % state.model.examples.length; ask(state.model.examples[state.hard][0]); };
$("log").onchange = () => state.done && draw();
document.onkeydown = (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!move || event.target.id === "problem" || event.target.tagName === "SELECT" || !state.done) return;
  state.step = Math.max(0, Math.min(state.done.answer.length - 1, state.step + move));
  draw();
};
function fromAddress() {
  const [name, text, step] = location.hash.slice(1).split("/").map(decodeURIComponent);
  choose(name, text || undefined, step ? +step : undefined);
}
window.onhashchange = fromAddress;
fromAddress();
