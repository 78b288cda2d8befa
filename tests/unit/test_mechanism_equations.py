"""Equations to read: formulas keep the meaning of the text, repeated ones are told once, the page stands alone."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from icans.mechanism.emit.equations import equations_html, equations_latex
from icans.mechanism.emit.families import Equation, fold
from icans.mechanism.emit.typeset import latex, mathml, name_latex, tidy
from icans.mechanism.patient import REGIONS, patient_model

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a - (b - c)", r"a - \left(b - c\right)"),
        ("(a - b) - c", "a - b - c"),
        ("-(k*X)", r"-k \cdot X"),
        ("a*(b + c)", r"a \cdot \left(b + c\right)"),
        ("a/(b*c)", r"\frac{a}{b \cdot c}"),
        ("(a + b)**2", r"{\left(a + b\right)}^{2}"),
        ("(a/b)**2", r"{\left(\frac{a}{b}\right)}^{2}"),
        ("a*-b", r"a \cdot \left(-b\right)"),
        ("exp(-k*t)", r"{e}^{-k \cdot t}"),
        ("hill(X, K, n)", r"\frac{{X}^{n}}{{K}^{n} + {X}^{n}}"),
        ("pos(x - 1)", r"\left[x - 1\right]_{+}"),
        ("1e-05*x", r"10^{-5} \cdot x"),
        ("0.25*log(x)", r"0.25 \cdot \operatorname{ln}\left(x\right)"),
    ],
)
def test_latex(text: str, expected: str) -> None:
    assert latex(text) == expected


def test_names() -> None:
    assert name_latex("rho_E") == r"\rho_{\mathrm{E}}"
    assert name_latex("IL6_isf_cortex") == r"\mathrm{IL6}_{\mathrm{isf\ cortex}}"
    assert name_latex("k") == "k"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a + 0", "a"), ("0*b + a", "a"), ("1*a/1", "a"), ("a - 0*b", "a"), ("-(0)", "0"), ("a**1 + b", "a ** 1 + b")],
)
def test_idle_terms_are_left_out(text: str, expected: str) -> None:
    assert ast.unparse(tidy(text)) == expected


def test_every_formula_is_well_formed() -> None:
    for definition in patient_model().definitions:
        ET.fromstring(f"<math>{mathml(definition.text)}</math>")
        assert latex(definition.text).count("{") == latex(definition.text).count("}")


def test_families_are_told_once_and_lose_nobody() -> None:
    names = [f"X_{r}" for r in REGIONS]
    alike = [Equation(n, "1", f"x in {n}", f"k*{n} + w_{n[2:]}", None, (), (n,)) for n in names]
    other = Equation("X_other", "1", "", "2*k", None, (), ("X_other",))
    folded = fold([*alike, other])
    assert [f.name for f in folded] == ["X_r", "X_other"]
    assert folded[0].text == "k*X_r + w_r"
    assert folded[0].members == tuple(names)
    assert folded[0].regions == REGIONS


def test_an_equation_that_differs_stands_alone() -> None:
    alike = [Equation(f"X_{r}", "1", "", f"k*X_{r}", None, (), (f"X_{r}",)) for r in REGIONS[:3]]
    odd = Equation("X_cerebellum", "1", "", "3*X_cerebellum", None, (), ("X_cerebellum",))
    folded = fold([*alike, odd])
    assert [f.name for f in folded] == ["X_r", "X_cerebellum"]


@pytest.mark.parametrize("make", [small_model, patient_model])
def test_page_stands_alone_and_names_everything(make) -> None:
    model = make()
    page = equations_html(model)
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "<script" not in page
    assert page.count("<section") == page.count("</section>") == len(model.modules)
    shown = re.sub(r"<[^>]+>", "", page)
    for row in model.parameters.rows:
        if row.module in {m.name for m in model.modules}:
            assert row.meaning.split(",")[0][:20] in shown or "&" in row.meaning or "<" in row.meaning
    for formula in re.findall(r"<math.*?</math>", page):
        ET.fromstring(formula)
    document = equations_latex(model)
    assert document.count("\\begin") == document.count("\\end")
    assert document.count("\\begin{dmath*}") > len(model.modules)
