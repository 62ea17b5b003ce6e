"""The commands and environments that the cleaner knows: their arguments, and what stays of them.

Used by the passes (`clean.py` says why each goes or stays) and by `macros.py`, which leaves them their meaning
where an author redefines them.
"""

from __future__ import annotations

# A command's arguments (letters of `Groups.arguments`), which of them stays (None: none), what stands in its place.
Rule = tuple[str, int | None, str]


def rules(table: dict[str, str], keep: int | None = None, replacement: str = "") -> dict[str, Rule]:
    return {name: (spec, keep, replacement) for spec, names in table.items() for name in names.split()}


DEFINITIONS: dict[str, Rule] = rules(
    {
        "*coom": "newcommand renewcommand providecommand DeclareRobustCommand",
        "cpg": "def edef gdef xdef",
        "c=m": "let",
        "*gogo": "newtheorem spnewtheorem",
        "og": "declaretheorem usepackage RequirePackage documentclass documentstyle lstset",
        "*googg": "newenvironment renewenvironment",
        "*cg": "DeclareMathOperator",
        "cgg": "NewDocumentCommand RenewDocumentCommand ProvideDocumentCommand DeclareDocumentCommand "
        "NewExpandableDocumentCommand",
        "gggg": "NewDocumentEnvironment RenewDocumentEnvironment",
        "c": "newlength newsavebox newdimen newcount newskip newtoks newbox newwrite newread",
        "go": "newcounter",
        "gg": "setcounter addtocounter numberwithin newfloat counterwithin",
        "cg": "setlength addtolength settowidth",
        "ggg": "definecolor",
        "g": "hypersetup usetikzlibrary theoremstyle hyphenation graphicspath captionsetup pgfplotsset tikzset "
        "AtBeginDocument AtEndDocument",
    }
)

BIBLIOGRAPHY_RULES = rules(
    {
        "": "printbibliography listrefs footnoterefs printbibheading",
        "m": "bibliographystyle nocite bibliography addbibresource putbib bibliographystyleSM bibdata",
        "mm": "bibselect",
    }
)
PICTURE_RULES = rules(
    {
        "*oog": "includegraphics",
        "og": "includesvg includepdf includestandalone epsffile epsfbox",
        "g": "epsfig psfig psdraft plotone asyinclude special tikzsetnextfilename tikzexternalize",
        "gg": "plottwo",
        "ogggg": "animategraphics",
        "*gg": "psfrag import subimport",  # files that the flattener did not find are drawings by other programs
    }
)
PICTURE_ENVIRONMENTS = (
    "tikzpicture tikzpicture* pspicture pspicture* picture asy asypicture asydef overpic pgfpicture "
    "circuitikz forest fmffile "
    "fmfgraph fmfgraph* feynman feynmandiagram axis xpicture postscript mfpic psmatrix tangle"
).split()
FIGURE_ENVIRONMENTS = (
    "figure figure* wrapfigure wrapfigure* SCfigure SCfigure* sidewaysfigure sidewaysfigure* "
    "floatingfigure teaserfigure "
    "marginfigure"
).split()
REFERENCE_NAMES = (
    "ref Ref eqref Eqref autoref Autoref nameref pageref titleref cref Cref crefrange Crefrange cpageref "
    "Cpageref labelcref "
    "vref Vref vpageref fref Fref subref thref zcref fullref sref parencite parencites textcite textcites "
    "autocite autocites "
    "footcite footcites fullcite smartcite supercite onlinecite"
).split()
LAYOUT: dict[str, Rule] = {
    **rules(
        {
            "": "noindent indent tableofcontents listoffigures listoftables bigskip medskip smallskip "
            "centering "
            "raggedright raggedleft flushbottom raggedbottom sloppy fussy onecolumn frontmatter mainmatter "
            "backmatter appendices nonumber notag tiny scriptsize footnotesize small normalsize "
            "large Large LARGE huge Huge "
            "makeatletter makeatother protect leavevmode allowbreak nobreak goodbreak unskip ignorespaces relax "
            "hrule bigbreak medbreak smallbreak nobreakspace phantomsection singlespacing onehalfspacing doublespacing "
            "balance normalfont selectfont printindex makeindex filbreak obeylines endtopmatter topmatter "
            "narrowtext narrower listoftodos strut expandafter AmSTeX makeglossaries "
            "boldmath unboldmath linenumbers nolinenumbers noaffiliation leanok mathlibok notready qedhere "
            "nologo TagsOnRight TagsOnLeft NoBlackBoxes BlackBoxes nofiles endgraf begingroup endgroup bgroup egroup "
            "endpaper nolimits IEEEpeerreviewmaketitle IEEEoverridecommandlockouts "
            "IEEEdisplaynontitleabstractindextext",
            "m": "label thispagestyle pagestyle pagenumbering enlargethispage hphantom vphantom refstepcounter "
            "stepcounter index glossary "
            "orcid inst corref fnref tnoteref authorrunning titlerunning "
            "titlenote authornote shorttitle shortauthors ccsdesc markright "
            "altaffilmark lean uses proves discussion glsadd "
            "linespread bookmarksetup acmConference acmYear acmDOI acmISBN setcopyright acmPrice "
            "copyrightyear acmJournal acmVolume acmNumber acmArticle acmMonth includeonly "
            "mathversion selectlanguage fontfamily fontseries fontshape sisetup pagecolor "
            "AddToShipoutPicture leadauthor "
            "lhead rhead chead lfoot rfoot cfoot",
            "*m": "vspace",
            "oog": "thanks author date address email affiliation affil institute curraddr urladdr dedicatory "
            "subjclass pacs PACS "
            "ead altaffiliation homepage collaboration color",
            "om": "preprint todo marginpar marginnote correspondingauthor cortext fntext tnotetext IEEEauthorblockN",
            "o": "pagebreak nopagebreak footnotemark linebreak nolinebreak allowdisplaybreaks displaybreak",
            "mm": "altaffiltext markboth IEEEpubid AddToHook",
            "ggg": "addcontentsline DeclareFontFamily",
            "gg": "addtocontents fontsize icmlaffiliation icmlcorrespondingauthor icmlsetsymbol",
            "g": "icmltitlerunning icmlkeywords printAffiliationsAndNotice",
        }
    ),
    **rules({"": "maketitle newpage clearpage cleardoublepage par vfill eject vfil supereject"}, replacement="\n\n"),
    **rules({"": "hfill hfil hss dotfill hrulefill", "*m": "hspace"}, replacement=" "),
    # What they format stays.
    **rules({"ogg": "href"}, keep=2),
    **rules({"*ggg": "resizebox"}, keep=3),
    **rules({"og": "hyperref"}, keep=1),
    **rules({"ogg": "textcolor colorbox rotatebox", "gog": "scalebox"}, keep=2),
    **rules({"gg": "hyperlink hypertarget foreignlanguage"}, keep=1),
    **rules(
        {"g": "IEEEtitleabstractindextext IEEEcompsocitemizethanks centerline leftline rightline boxit textnormal"},
        keep=0,
    ),
    **rules({"gg": "texorpdfstring"}, keep=0),
}
# Environments whose content stays and whose frame goes, with their arguments.
FRAMES = {
    name: spec
    for spec, names in {
        "": "center flushleft flushright document small footnotesize scriptsize normalsize large tiny "
        "frontmatter mainmatter "
        "landscape sloppypar singlespace doublespace onehalfspace doublespacing widetext titlepage "
        "fullwidth raggedright "
        "centering samepage linenumbers strip ruledtabular threeparttable",
        "m": "spacing multicols multicols* otherlanguage otherlanguage*",
        "ooom": "minipage",
        "mm": "adjustwidth CJK CJK*",
        "o": "mdframed framed shaded tcolorbox",
        "g": "adjustbox",
    }.items()
    for name in names.split()
}

# Environments under the name that everybody knows.
RENAMED = {"IEEEproof": "proof"}
# Environments about the authors, not their subject.
APPARATUS = "IEEEbiography IEEEbiographynophoto biography icmlauthorlist".split()
# Commands that split a word for the look of its first letter: `\\IEEEPARstart{T}{his}`.
INITIALS = "IEEEPARstart lettrine dropcap PARstart".split()

# ---------------------------------------------------------------------------------------------------------------------
# what macros.py leaves alone

# Structure, text and fonts: an author who redefines these changes their look, not their meaning.
_STRUCTURE = (
    "begin end document enddocument documentclass documentstyle usepackage input include item bibitem section "
    "subsection subsubsection paragraph subparagraph chapter part appendix title maketitle abstract endabstract "
    "caption footnote footnotetext emph textbf textit texttt textsc textsl textrm textsf textup textmd underline bf it "
    "rm sf sl sc tt em cal bfseries itshape rmfamily sffamily ttfamily scshape slshape upshape mdseries proof endproof "
    "qed qedsymbol qedhere label newline linebreak quad qquad left right middle big Big bigg Bigg frac sqrt sum int "
    "prod "
    "text mbox hbox mathbf mathrm mathit mathsf mathtt mathcal mathbb mathfrak mathscr boldsymbol operatorname ldots "
    "dots cdots limits nolimits over atop choose keywords subtitle cr hline url verb and marginpar ensuremath xspace "
    "newif else fi or bye today TeX LaTeX beginsection newsec subsec footnotemark"
).split()
# Names that are layout or apparatus in some documents and an author's own word in others.
_AMBIGUOUS = (
    "lean uses proves discussion inst ead leanok mathlibok notready balance strut index date fref sref thref "
    "glossary nologo refs small large tangle color"
).split()
PROTECTED_COMMANDS = frozenset(
    {*_STRUCTURE, *LAYOUT, *DEFINITIONS, *BIBLIOGRAPHY_RULES, *PICTURE_RULES, *REFERENCE_NAMES, "cite", "nocite"}
    - set(_AMBIGUOUS)
) | {"small", "large", "color"}
PROTECTED_ENVIRONMENTS = frozenset(
    {
        *PICTURE_ENVIRONMENTS,
        *FIGURE_ENVIRONMENTS,
        *FRAMES,
        *"document abstract proof theorem lemma proposition corollary definition remark example itemize enumerate "
        "description quote quotation verse table tabular array thebibliography equation align gather multline eqnarray "
        "displaymath math matrix pmatrix cases split aligned gathered verbatim keywords appendix".split(),
    }
)
# What \\providecommand must not touch: these are there already.
STANDARD_COMMANDS = PROTECTED_COMMANDS | set(
    "eqref bm texttrademark textregistered degree celsius micro mathbbm dfrac tfrac binom overset underset".split()
)
