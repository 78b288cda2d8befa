(function () {
  "use strict";
  var links = {};
  document.querySelectorAll(".toc a").forEach(function (a) { links[a.hash.slice(1)] = a; });
  function mark(id) {
    Object.keys(links).forEach(function (key) { links[key].removeAttribute("aria-current"); });
    var link = links[id];
    link.setAttribute("aria-current", "true");
    var list = document.querySelector(".toc");
    if (list.scrollWidth > list.clientWidth) {
      list.scrollLeft = link.offsetLeft - list.offsetLeft - 16;
    }
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
