// What the theme leaves to do: for screen readers sections that have a page of their own come without
// a name and the buttons of code blocks all alike, and by keyboard what scrolls sideways is not reached.
for (const nav of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
  const label = document.getElementById(nav.getAttribute("aria-labelledby"));
  const link = nav.parentElement.querySelector(".md-nav__link .md-ellipsis");
  if (label && !label.textContent.trim() && link) {
    nav.removeAttribute("aria-labelledby");
    nav.setAttribute("aria-label", link.textContent.trim());
  }
}
const tidy = () => {
  document.querySelectorAll("nav.md-code__nav").forEach((one, i) => {
    one.setAttribute("aria-label", `Code block ${i + 1}`);
  });
  for (const one of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
addEventListener("load", tidy);
addEventListener("resize", tidy);
// The theme adds the buttons when a block comes into sight.
new MutationObserver(tidy).observe(document.body, { childList: true, subtree: true });
