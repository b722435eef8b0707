// What the theme leaves to do: sections that have a page of their own come without a name for screen
// readers, buttons of code as landmarks, and what scrolls sideways cannot be reached by keyboard.
for (const nav of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
  const label = document.getElementById(nav.getAttribute("aria-labelledby"));
  const link = nav.parentElement.querySelector(".md-nav__link .md-ellipsis");
  if (label && !label.textContent.trim() && link) {
    nav.removeAttribute("aria-labelledby");
    nav.setAttribute("aria-label", link.textContent.trim());
  }
}
const tidy = () => {
  for (const one of document.querySelectorAll("nav.md-code__nav")) one.setAttribute("role", "group");
  for (const one of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
addEventListener("load", tidy);
addEventListener("resize", tidy);
// The theme adds the buttons when a block comes into sight.
new MutationObserver(tidy).observe(document.body, { childList: true, subtree: true });
