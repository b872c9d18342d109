// Plots the estimated accuracy of the models against the number of labels.
const WIDTH = 280, HEIGHT = 150, LEFT = 42, BOTTOM = 22, TOP = 8, RIGHT = 8;

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function chart(points) {
  const last = points[points.length - 1];
  const most = Math.max(...points.map((own) => own.labels)), least = Math.min(...points.map((own) => own.labels));
  const across = (labels) => most === least ? (LEFT + WIDTH - RIGHT) / 2 : LEFT + (WIDTH - LEFT - RIGHT) * (labels - least) / (most - least);
  const down = (share) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share);
  const words = `Estimated accuracy against labels: ${Math.round(100 * last.accuracy)} % with ${last.labels} labels`;
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  for (const share of [0, 0.5, 1]) {
    drawn.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: down(share), y2: down(share) }));
    drawn.append(svg("text", { x: LEFT - 4, y: down(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  const upper = points.map((own) => `${across(own.labels)},${down(own.high)}`);
  const lower = points.map((own) => `${across(own.labels)},${down(own.low)}`).reverse();
  if (points.length > 1) {
    drawn.append(svg("polygon", { class: "range", points: [...upper, ...lower].join(" ") }));
    drawn.append(svg("polyline", { class: "line", points: points.map((own) => `${across(own.labels)},${down(own.accuracy)}`).join(" ") }));
  } else {
    drawn.append(svg("line", { class: "line", x1: across(last.labels), x2: across(last.labels), y1: down(last.low), y2: down(last.high) }));
  }
  for (const own of points) drawn.append(svg("circle", { class: "dot", cx: across(own.labels), cy: down(own.accuracy), r: 2.5 }));
  drawn.append(svg("text", { x: across(least), y: HEIGHT - 6, "text-anchor": most === least ? "middle" : "start" }, `${least}`));
  if (most !== least) drawn.append(svg("text", { x: across(most), y: HEIGHT - 6, "text-anchor": "end" }, `${most} labels`));
  return drawn;
}
