// A point of the map shows its image under the pointer. The file contains everything: there are no requests.
const map = document.getElementById("map");
if (map) {
  const bubble = document.getElementById("bubble"), sheet = document.getElementById("sheet");
  const canvas = bubble.querySelector("canvas"), words = bubble.querySelector("p");
  const columns = Number(map.dataset.columns), width = Number(map.dataset.width), height = Number(map.dataset.height);
  let on = null;
  const show = (event) => {
    const point = event.target.closest("circle[data-i]");
    on?.classList.remove("on");
    on = point;
    bubble.hidden = !point;
    if (!point) return;
    point.classList.add("on");
    const i = Number(point.dataset.i), drawn = canvas.getContext("2d");
    drawn.imageSmoothingEnabled = false;
    drawn.clearRect(0, 0, canvas.width, canvas.height);
    drawn.drawImage(sheet, (i % columns) * width, Math.floor(i / columns) * height, width, height, 0, 0, canvas.width, canvas.height);
    words.textContent = point.querySelector("title").textContent;
    const place = map.getBoundingClientRect(), at = point.getBoundingClientRect();
    bubble.style.left = `${Math.min(Math.max(0, at.left - place.left + 14), place.width - 110)}px`;
    bubble.style.top = `${Math.max(0, at.top - place.top + 14)}px`;
  };
  map.addEventListener("pointerover", show);
  map.addEventListener("pointerdown", show);
  map.addEventListener("pointerleave", () => { bubble.hidden = true; });
}
// Folded sections are printed as well.
addEventListener("beforeprint", () => { for (const own of document.querySelectorAll("details")) own.open = true; });
