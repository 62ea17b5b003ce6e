r"""Commands of LaTeX and the AMS packages, those of most use first: what science writes even where a sample does not.

A sample of some fields, or a small one, lacks commands that other papers are full of (`\bigl`, `\coloneqq`, `\lvert`),
and a tokenizer without them cuts `\bigl` into `\big` and `l`. So these are counted a little in any sample, as far down
the list as the vocabulary has room. Imported, not run.
"""

from __future__ import annotations

STANDARD_COMMANDS = (
    "frac begin end left right mathbb mathcal mathrm text alpha beta gamma delta epsilon lambda mu sigma in to cdot le "
    "leq ge geq sum int label ref cite section item quad ldots partial infty mathbf varepsilon phi varphi psi omega "
    "theta rho tau pi nu eta xi zeta kappa chi times sqrt hat bar tilde langle rangle emph textbf textit eqref subset "
    "Gamma Delta Omega Lambda Sigma Phi Psi Pi Theta big Big bigg Bigg prod operatorname mid neq ne sim approx equiv "
    "otimes oplus cap cup subseteq rightarrow Rightarrow mapsto forall exists nabla overline underline widetilde "
    "widehat dots cdots ell prime pm log exp sin cos lim sup inf max min det dim ker mathfrak mathscr textrm texttt "
    "mathsf circ bullet star ast setminus emptyset varnothing perp parallel footnote subsection paragraph caption "
    "citep citet bigl bigr Bigl Bigr biggl biggr Biggl Biggr lvert rvert lVert rVert vert Vert lfloor rfloor lceil "
    "rceil middle coloneqq colon hbar dagger wedge vee bigcup bigcap bigoplus bigotimes bigwedge bigvee bigsqcup "
    "coprod propto simeq cong ll gg lesssim gtrsim ltimes rtimes iff implies Leftrightarrow longrightarrow "
    "Longrightarrow longmapsto hookrightarrow twoheadrightarrow leftarrow Leftarrow leftrightarrow rightharpoonup "
    "xrightarrow xleftarrow overset underset stackrel substack binom dfrac tfrac limsup liminf arg gcd deg mod pmod "
    "bmod Pr tr tan cot sinh cosh tanh arctan arcsin arccos sec csc ln lg hom mathop mathit boldsymbol bm textsc "
    "textsf textup textsl mathds mathbbm mathring overrightarrow overbrace underbrace vec dot ddot acute grave breve "
    "check not notin ni supset supseteq subsetneq supsetneq nsubseteq sqsubseteq sqsupseteq sqcap sqcup uplus amalg "
    "odot ominus oslash bigcirc diamond triangle triangleleft triangleright bigtriangleup bigtriangledown square "
    "blacksquare Box Diamond lozenge nmid nparallel models vdash dashv Vdash vDash nvdash top bot neg lnot land lor "
    "succ prec succeq preceq precsim succsim asymp doteq triangleq backslash aleph beth Re Im wp imath jmath "
    "varrho vartheta varsigma varpi varkappa digamma Xi Upsilon upsilon iota omicron uparrow downarrow updownarrow "
    "Uparrow Downarrow nearrow searrow swarrow nwarrow rightleftharpoons leftrightarrows rightrightarrows "
    "leftharpoonup rightharpoondown leadsto rightsquigarrow circlearrowleft curvearrowright upharpoonright "
    "restriction multimap therefore because angle measuredangle sphericalangle clubsuit diamondsuit heartsuit "
    "spadesuit sharp flat natural surd smallsetminus complement mho eth hslash Finv Game Bbbk intercal barwedge "
    "veebar doublebarwedge divideontimes boxplus boxminus boxtimes boxdot circledast circledcirc circleddash dotplus "
    "ltimes bowtie Join between pitchfork lessgtr gtrless leqslant geqslant nleq ngeq leqq geqq lneq gneq ncong nsim "
    "approxeq thickapprox thicksim backsim eqcirc circeq bumpeq vartriangle trianglelefteq trianglerighteq "
    "vartriangleleft vartriangleright ntriangleleft blacktriangle iint iiint oint idotsint smallint limits nolimits "
    "displaystyle textstyle scriptstyle scriptscriptstyle mathbin mathrel mathopen mathclose mathord mathpunct "
    "mathchoice phantom smash boxed tag intertext shortintertext ensuremath mbox hbox fbox makebox raisebox rule "
    "qquad hspace vspace hskip vskip kern thinspace negthinspace medspace thickspace subsubsection chapter part "
    "subparagraph appendix maketitle title author date abstract thanks bibitem citealt citealp citeauthor citeyear "
    "cref Cref autoref nameref hyperref href url footnotemark footnotetext includegraphics centering linewidth "
    "textwidth columnwidth hline toprule midrule bottomrule cline multicolumn multirow tabular item itemize newline "
    "par noindent bigskip medskip smallskip newpage em bf it rm tt sc sf sl small large Large tiny normalsize "
    "footnotesize scriptsize bfseries itshape upshape rmfamily ttfamily textnormal textsuperscript textsubscript "
    "textgreater textless textbackslash textasciitilde copyright S P dag ddag ss ae oe o O l L aa AA AE OE i j "
    "SI si num unit ket bra braket ketbra expval dv pdv dd abs norm qty Tr rank diag sgn sign supp vol id Id Hom End "
    "Aut Ext Tor Spec Proj Gal GL SL SO SU mathop argmax argmin lhd rhd unlhd unrhd coloneq eqqcolon Coloneqq dblcolon "
    "xmapsto xhookrightarrow prescript adjustlimits underbracket overbracket lbrace rbrace lbrack rbrack lparen rparen "
    "lgroup rgroup ulcorner urcorner llcorner lrcorner llbracket rrbracket lmoustache nonumber notag qed qedhere "
    "qedsymbol ldotp cdotp vdots ddots iddots dotsc dotsb dotsm dotsi dotso hdots hdotsfor"
).split()


def standard_commands(vocab_size: int) -> list[str]:
    """The commands (with their backslash) that a vocabulary of this size has room for: at most one entry in 64."""
    return ["\\" + name for name in dict.fromkeys(STANDARD_COMMANDS)][: vocab_size // 64]
