const boxes = [...document.querySelectorAll("#choice input")];

function read() {
  const names = new URLSearchParams(location.search).getAll("show");
  if (names.length) boxes.forEach(box => { box.checked = names.includes(box.value); });
}

function write() {
  const address = new URL(location.href);
  address.searchParams.delete("show");
  const ticked = boxes.filter(box => box.checked).map(box => box.value);
  (ticked.length ? ticked : [""]).forEach(name => address.searchParams.append("show", name));
  try { history.replaceState(null, "", address); } catch { /* a file's address may be fixed */ }
}

if (boxes.length) {
  read();
  document.querySelector("#choice .boxes").addEventListener("change", write);
  const buttons = document.querySelector("#choice .buttons");
  buttons.hidden = false;
  buttons.addEventListener("click", event => {
    if (!event.target.value) return;
    boxes.forEach(box => { box.checked = event.target.value === "all"; });
    write();
  });
}
