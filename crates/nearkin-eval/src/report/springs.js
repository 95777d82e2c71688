for (const film of document.querySelectorAll(".film")) {
  const data = JSON.parse(film.querySelector("script").textContent);
  const [play, slider, figures] = ["button", "input[type=range]", "output"].map((s) => film.querySelector(s));
  const points = [...film.querySelectorAll("circle")];
  const bands = [...film.querySelectorAll("path.spring")];
  const last = data.length - 1;
  let now = last, running = false, before = 0;

  // Between two moments points move in straight lines; springs are those of the earlier one.
  const draw = () => {
    const at = Math.min(Math.floor(now), last), next = Math.min(at + 1, last), part = now - at;
    const moment = data[at], to = data[next].places;
    const place = moment.places.map((x, i) => x + (to[i] - x) * part);
    points.forEach((point, i) => {
      point.setAttribute("cx", place[2 * i]);
      point.setAttribute("cy", place[2 * i + 1]);
    });
    moment.springs.forEach((ends, band) => {
      let path = "";
      for (let i = 0; i < ends.length; i += 2) {
        const a = 2 * ends[i], b = 2 * ends[i + 1];
        path += `M${place[a]} ${place[a + 1]}L${place[b]} ${place[b + 1]}`;
      }
      bands[band].setAttribute("d", path);
    });
    slider.value = Math.round(now);
    slider.setAttribute("aria-valuetext", moment.says);
    figures.textContent = moment.says;
  };
  const stop = () => {
    running = false;
    play.textContent = "Play";
  };
  const tick = (time) => {
    if (!running) return;
    now = Math.min(now + Math.min(time - before, 100) / 140, last);
    before = time;
    draw();
    if (now === last) stop();
    else requestAnimationFrame(tick);
  };
  play.onclick = () => {
    if (running) return stop();
    if (now === last) now = 0;
    running = true;
    play.textContent = "Pause";
    before = performance.now();
    requestAnimationFrame(tick);
  };
  slider.oninput = () => {
    stop();
    now = Number(slider.value);
    draw();
  };
  for (const box of film.querySelectorAll("input[type=checkbox]")) {
    box.onchange = () => film.querySelector("g." + box.value).toggleAttribute("hidden", !box.checked);
  }
  film.querySelector(".controls").hidden = false;
  draw();
}
