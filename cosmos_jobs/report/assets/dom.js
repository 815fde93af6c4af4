// Elements. Texts of users are only ever text: nothing here makes HTML of a string.

const $ = (selector, root = document) => root.querySelector(selector);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((each) => each !== null));
  return made;
}

function choice(title, options, value, changed) {
  const select = element("select", { "aria-label": title, onchange: () => changed(select.value) });
  for (const [key, text] of options) select.append(element("option", { value: key }, text));
  select.value = value;
  return element("label", {}, element("span", {}, title), select);
}

function say(text) {
  $("#said").textContent = text;
  $("#said").classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => $("#said").classList.remove("shown"), 4000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without permission there is still the old way.
    const area = element("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`Copied: ${text}`);
}

function command(text) {
  const button = element("button", { type: "button", onclick: () => copy(text) }, "Copy");
  return element("div", { class: "command" }, element("code", { tabindex: "0" }, text), button);
}
