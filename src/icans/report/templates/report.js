(function () {
  "use strict";
  var links = {};
  document.querySelectorAll(".toc a").forEach(function (a) { links[a.hash.slice(1)] = a; });
  var settled = null;
  function mark(id) {
    Object.keys(links).forEach(function (key) { links[key].removeAttribute("aria-current"); });
    links[id].setAttribute("aria-current", "true");
    // The list of contents moves only when the page has come to rest: never away from under a finger.
    window.clearTimeout(settled);
    settled = window.setTimeout(function () {
      var list = document.querySelector(".toc");
      if (list.scrollWidth > list.clientWidth) {
        list.scrollLeft = links[id].offsetLeft - list.offsetLeft - 16;
      }
    }, 150);
  }
  var sections = Array.prototype.slice.call(document.querySelectorAll("main > section"));
  function follow() {
    var line = window.innerHeight * 0.3, current = sections[0];
    sections.forEach(function (s) { if (s.getBoundingClientRect().top <= line) { current = s; } });
    if (current) { mark(current.id); }
  }
  var waiting = false;
  document.addEventListener("scroll", function () {
    if (waiting) { return; }
    waiting = true;
    window.requestAnimationFrame(function () { waiting = false; follow(); });
  }, { passive: true });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
  follow();
})();
