r"""The words and formulas of the sample corpus, field by field: what `tools/make_sample_corpus.py` writes about.

A rule maps a name to its productions; `«name»` inside a production expands another rule (`tools/sample_grammar.py`).
The first production of a rule ends the recursion, so it refers to no rule that may come back to it.
Words are separated by `|`.
"""

from __future__ import annotations

from dataclasses import dataclass

Rules = dict[str, list[str]]


@dataclass(frozen=True)
class Field:
    """One subject: arXiv categories (primary first) and the rules that only it has."""

    name: str
    categories: tuple[str, ...]
    rules: Rules


def words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split("|") if word.strip()]


def field(name: str, categories: str, **rules: str | list[str]) -> Field:
    return Field(
        name,
        tuple(words(categories)),
        {key: words(value) if isinstance(value, str) else value for key, value in rules.items()},
    )


FIELDS = [
    field(
        "group theory",
        "math.GR | math.GR math.RA | math.GR math.CO",
        obj="group | soluble group | profinite group | braid group | Coxeter group | mapping class group | p-group | "
        "linear group | lattice | Artin group | permutation group | hyperbolic group | Lie group | amenable group",
        part="subgroup | normal subgroup | Sylow subgroup | quotient | centralizer | commutator subgroup | coset | "
        "conjugacy class | maximal subgroup | composition factor | generating set | stabilizer",
        mapn="homomorphism | automorphism | epimorphism | representation | permutation character | embedding",
        prop="nilpotent | residually finite | finitely presented | torsion-free | polycyclic | simple | perfect | "
        "virtually abelian | Hopfian | metabelian | supersoluble | locally finite | just infinite",
        inv="derived length | nilpotency class | growth rate | order | exponent | rank | "
        "Schur multiplier | word length",
        invsym=[r"|«A»|", r"\operatorname{rank}(«A»)", r"d(«A»)", r"\exp(«A»)", r"\ell_{«B»}(«x»)", r"|«A» : «B»|"],
        A="G | H | \\Gamma | Q",
        B="N | K | P | U",
        x="g | x | a | h",
        y="y | b | t | z",
        f="\\varphi | \\theta | \\rho | \\pi",
        fact=[
            r"|«A» : «B»| = «num»",
            r"[«x», «y»] \in «B»",
            r"«B» \trianglelefteq «A»",
            r"Z(«A») \cap «B» \neq 1",
            r"«x»^{«num»} = 1",
            r"C_{«A»}(«x») \leq «B»",
            r"«A»/«B» \cong \mathbb{Z}/«num»\mathbb{Z}",
            r"«A» = \langle «x», «y» \mid «x»^{«num»} = «y»^{«num»} = («x»«y»)^{«num»} \rangle",
        ],
        long=[
            r"1 \longrightarrow «B» \longrightarrow «A» \xrightarrow{«f»} «A»/«B» \longrightarrow 1",
            r"\gamma_{«n»+1}(«A») = [\gamma_{«n»}(«A»), «A»] \subseteq «B»",
            r"|«A»| = |Z(«A»)| + \sum_{«i»=1}^{«k»} |«A» : C_{«A»}(«x»_{«i»})|",
            r"\operatorname{Ind}_{«B»}^{«A»} \chi («x») = \frac{1}{|«B»|} \sum_{«y» \in «A»} \chi(«y»^{-1} «x» «y»)",
            r"[«x»«y», z] = [«x», z]^{«y»} [«y», z]",
        ],
        result='Jordan--H\\"older theorem | Schreier formula | Burnside lemma | Sylow theorems | Tits alternative | '
        "Clifford theory | Maschke theorem | transfer homomorphism",
        topic="commutators | lower central series | word maps | fixed points | subgroup growth | generating pairs | "
        "conjugacy classes | outer automorphisms",
    ),
    field(
        "commutative algebra",
        "math.AC math.AG | math.AC math.RA | math.RA",
        obj="ring | local ring | graded ring | module | polynomial ring | valuation ring | algebra | Noetherian ring | "
        "Dedekind domain | Hopf algebra | monoid ring | complete intersection",
        part="ideal | prime ideal | maximal ideal | submodule | localization | annihilator | radical | syzygy | "
        "associated prime | regular sequence | direct summand | socle",
        mapn="ring homomorphism | derivation | flat morphism | localization map | endomorphism | resolution",
        prop="Cohen--Macaulay | Gorenstein | integrally closed | reduced | Artinian | regular | "
        "catenary | projective | "
        "injective | flat | Koszul | finitely generated",
        inv="Krull dimension | depth | projective dimension | multiplicity | regularity | Hilbert function | "
        "Betti number | socle degree",
        invsym=[
            r"\dim «A»",
            r"\operatorname{depth} «A»",
            r"\operatorname{pd}_{«A»} M",
            r"e(«B», «A»)",
            r"\beta_{«i»}(«A»)",
            r"\operatorname{reg}(«B»)",
        ],
        A="R | A | S",
        B="I | J | \\mathfrak{p} | \\mathfrak{m} | \\mathfrak{a}",
        x="x | r | a",
        y="y | s | b",
        f="f | \\varphi | \\psi | \\delta",
        fact=[
            r"«B» \subseteq \sqrt{(«x», «y»)}",
            r"\operatorname{ht} «B» = «num»",
            r"«x» «y» \in «B»",
            r"«A»/«B» \cong k[«x», «y»]/(«x»^{«num»})",
            r"\operatorname{Ass}(«A»/«B») = \{\mathfrak{p}_1, \dots, \mathfrak{p}_{«k»}\}",
            r"\mathfrak{m}^{«num»} «B» = 0",
            r"\operatorname{Tor}_{«num»}^{«A»}(k, k) \neq 0",
        ],
        long=[
            r"0 \to F_{«n»} \to \cdots \to F_1 \xrightarrow{«f»} F_0 \to «A»/«B» \to 0",
            r"\operatorname{Ext}^{«i»}_{«A»}(«A»/«B», «A») \cong H^{«i»}(\operatorname{Hom}(F_\bullet, «A»))",
            r"H_{«A»}(t) = \sum_{«n» \geq 0} \dim_k «A»_{«n»} t^{«n»} = \frac{h(t)}{(1 - t)^{«num»}}",
            r"\operatorname{pd} M + \operatorname{depth} M = \operatorname{depth} «A»",
            r"\overline{«B»^{«n»+1}} = «B» \, \overline{«B»^{«n»}}",
        ],
        result="Nakayama lemma | Krull intersection theorem | Auslander--Buchsbaum formula | Hilbert basis theorem | "
        "Noether normalization | snake lemma | Chinese remainder theorem",
        topic="integral closure | free resolutions | local cohomology | Rees algebras | "
        "symbolic powers | monomial ideals",
    ),
    field(
        "algebraic geometry",
        "math.AG | math.AG math.NT | math.AG hep-th",
        obj="variety | scheme | projective curve | surface | toric variety | abelian variety | moduli space | stack | "
        "K3 surface | Fano threefold | elliptic fibration | Calabi--Yau manifold",
        part="divisor | line bundle | coherent sheaf | fibre | open subscheme | linear system | subvariety | stratum | "
        "exceptional curve | canonical class | vector bundle",
        mapn="morphism | rational map | blow-up | finite cover | fibration | birational map",
        prop="smooth | proper | ample | rational | normal | unirational | nef | separated | log canonical | "
        "geometrically integral | quasi-projective",
        inv="genus | Picard number | Kodaira dimension | degree | Euler characteristic | Hodge number | gonality",
        invsym=[
            r"\chi(\mathcal{O}_{«A»})",
            r"h^{«i»}(«A», \mathcal{L})",
            r"\rho(«A»)",
            r"«B»^2",
            r"K_{«A»} \cdot «B»",
            r"\kappa(«A»)",
        ],
        A="X | Y | S | V",
        B="D | C | E | L",
        x="x | p | P",
        y="y | q | s",
        f="\\pi | f | \\phi | \\sigma",
        fact=[
            r"«B» \cdot «B» = -«num»",
            r"H^{«num»}(«A», \mathcal{O}_{«A»}(«B»)) = 0",
            r"K_{«A»} \sim «num»«B»",
            r"«f»^{*}«B» = \tilde{«B»} + «num»E",
            r"\operatorname{Pic}(«A») \cong \mathbb{Z}^{«num»}",
            r"\mathcal{O}_{«A»}(«B»)|_{«B»} \cong \mathcal{O}_{«B»}",
        ],
        long=[
            r"\chi(«A», \mathcal{O}(«B»)) = \chi(\mathcal{O}_{«A»}) + \frac{1}{2} «B» \cdot («B» - K_{«A»})",
            r"0 \to \mathcal{O}_{«A»}(-«B») \to \mathcal{O}_{«A»} \to \mathcal{O}_{«B»} \to 0",
            r"\int_{«A»} c_1(\mathcal{L})^{«n»} = \lim_{m \to \infty} \frac{«n»!}{m^{«n»}} h^0(«A», "
            r"\mathcal{L}^{\otimes m})",
            r"R^{«i»}«f»_{*}\omega_{«A»} \cong \mathcal{H}om(R^{«k»-«i»}«f»_{*}\mathcal{O}_{«A»}, \omega_{Y})",
            r"H^{«k»}(«A», \mathbb{C}) = \bigoplus_{p + q = «k»} H^{p,q}(«A»)",
        ],
        result="Riemann--Roch theorem | Serre duality | Kodaira vanishing theorem | Bertini theorem | "
        "Zariski main theorem | "
        "base change theorem | adjunction formula | Hodge index theorem",
        topic="birational rigidity | vanishing cycles | moduli of sheaves | rational points | intersection numbers",
    ),
    field(
        "topology",
        "math.AT | math.GT | math.GT math.DG | math.GN",
        obj="topological space | manifold | simplicial complex | knot | CW complex | fibre bundle | three-manifold | "
        "spectrum | foliation | covering space | polyhedron | link | handlebody | homology sphere",
        part="neighbourhood | cell | boundary component | submanifold | simplex | open cover | skeleton | loop | "
        "incompressible surface | deformation retract | tubular neighbourhood",
        mapn="continuous map | homotopy equivalence | covering map | homeomorphism | fibration | cobordism | immersion",
        prop="compact | contractible | simply connected | orientable | paracompact | metrizable | "
        "aspherical | closed | "
        "path connected | Hausdorff | locally compact | irreducible",
        inv="fundamental group | Euler characteristic | homology | signature | linking number | Alexander polynomial | "
        "cup length | homotopy type | bridge number",
        invsym=[
            r"\pi_1(«A»)",
            r"H_{«k»}(«A»; \mathbb{Z})",
            r"\chi(«A»)",
            r"\operatorname{cat}(«A»)",
            r"b_{«i»}(«A»)",
            r"\Delta_{«A»}(t)",
        ],
        A="X | M | K | Y",
        B="A | U | L | N",
        x="x | p | x_0",
        y="y | q | \\gamma",
        f="f | h | p | g",
        fact=[
            r"\pi_1(«A») \cong \mathbb{Z}^{«num»}",
            r"H_{«num»}(«A», «B») = 0",
            r"«f» \simeq \mathrm{id}_{«A»}",
            r"\partial «B» = S^{«num»}",
            r"\chi(«A») = 2 - 2«num»",
            r"«A» \setminus «B» \simeq S^{«num»} \vee S^{«num»}",
            r"«f»_{*}[«A»] = «num»[«B»]",
        ],
        long=[
            r"\cdots \to H_{«k»}(«B») \to H_{«k»}(«A») \to H_{«k»}(«A», «B») \xrightarrow{\partial} "
            r"H_{«k»-1}(«B») \to \cdots",
            r"\chi(«A») = \sum_{«i»=0}^{«n»} (-1)^{«i»} \operatorname{rank} H_{«i»}(«A»)",
            r"E^2_{p,q} = H_p(«B»; H_q(F)) \Longrightarrow H_{p+q}(«A»)",
            r"\pi_{«k»}(F) \to \pi_{«k»}(«A») \xrightarrow{«f»_*} \pi_{«k»}(«B») \to \pi_{«k»-1}(F)",
            r"\operatorname{lk}(«A», «B») = \frac{1}{2} \sum_{c} \operatorname{sign}(c)",
        ],
        result="van Kampen theorem | Mayer--Vietoris sequence | Whitehead theorem | Poincar\\'e duality | "
        "Hurewicz theorem | "
        "loop theorem | excision theorem | Brouwer fixed point theorem",
        topic="Dehn surgery | obstruction theory | higher homotopy | knot concordance | "
        "spectral sequences | triangulations",
    ),
    field(
        "analysis of partial differential equations",
        "math.AP | math.AP math.CA | math.FA math.AP",
        obj="bounded domain | parabolic equation | elliptic operator | Sobolev space | weak solution | "
        "Cauchy problem | "
        'semigroup | free boundary problem | wave equation | Schr\\"odinger operator | kernel | conservation law',
        part="test function | boundary layer | minimizing sequence | level set | cut-off function | subsequence | "
        "energy functional | fundamental solution | trace | ball | measure",
        mapn="linear operator | extension operator | mollifier | Fourier multiplier | embedding | projection | flow",
        prop='bounded | coercive | weakly compact | monotone | H\\"older continuous | integrable | dissipative | '
        "subharmonic | absolutely continuous | Lipschitz | uniformly elliptic",
        inv="energy | spectral gap | first eigenvalue | blow-up time | decay rate | capacity | Hausdorff dimension",
        invsym=[
            r"\norm{«x»}_{L^{«p»}(«A»)}",
            r"E(«x»)",
            r"\lambda_{«i»}(«A»)",
            r"\norm{\nabla «x»}_{2}",
            r"\abs{«A»}",
            r"\sup_{t > 0} \norm{«x»(t)}",
        ],
        A="\\Omega | B_R | D | \\mathbb{R}^d",
        B="K | E | \\partial\\Omega | \\omega",
        x="u | v | \\phi | w",
        y="v | \\psi | \\eta | g",
        f="T | F | \\Phi | S",
        p="2 | p | q | \\infty | 1",
        fact=[
            r"«x» \in H^{«num»}_0(«A»)",
            r"\norm{«x»}_{L^{«p»}} \leq C \norm{\nabla «x»}_{L^2}",
            r"-\Delta «x» = \lambda «x»",
            r"«x»_{«n»} \rightharpoonup «x»",
            r"\abs{«x»(t)} \leq C e^{-«num»t}",
            r"«x»|_{\partial «A»} = 0",
            r"\operatorname{div}(a \nabla «x») \in L^{«p»}(«A»)",
        ],
        long=[
            r"\int_{«A»} \nabla «x» \cdot \nabla \varphi \, dx = \int_{«A»} f \varphi \, dx",
            r"\partial_t «x» - \Delta «x» + \abs{«x»}^{p-1} «x» = 0 \quad \text{in } «A» \times (0, T)",
            r"\frac{d}{dt} \int_{«A»} \abs{«x»}^2 \, dx + «num» \int_{«A»} \abs{\nabla «x»}^2 \, dx "
            r"\leq C(1 + t)^{-«num»}",
            r"\norm{«x»}_{L^{«p»}(«A»)}^2 \leq \varepsilon \norm{\nabla «x»}_{2}^2 + C_{\varepsilon} \norm{«x»}_{1}^2",
            r"\widehat{«f» «x»}(\xi) = m(\xi) \hat{«x»}(\xi), \qquad \abs{\partial^{\alpha} m(\xi)} "
            r"\leq C \abs{\xi}^{-\abs{\alpha}}",
            r"\lim_{\varepsilon \to 0} \int_{\abs{x - y} > \varepsilon} \frac{«x»(y)}{\abs{x - y}^{d}} \, dy",
        ],
        result="Gr\\\"onwall inequality | Lax--Milgram theorem | Poincar\\'e inequality | "
        "Rellich theorem | Schauder estimates | "
        "maximum principle | Banach fixed point theorem | Harnack inequality | dominated convergence",
        topic="regularity | decay estimates | blow-up | homogenization | unique continuation | Strichartz estimates",
    ),
    field(
        "graph theory",
        "math.CO | math.CO cs.DM | cs.DS math.CO",
        obj="graph | tree | bipartite graph | planar graph | hypergraph | tournament | matroid | "
        "digraph | cubic graph | "
        "random graph | chordal graph | expander | multigraph | poset",
        part="vertex | edge | cycle | matching | clique | spanning tree | independent set | path | component | cut | "
        "perfect matching | induced subgraph | separator | colour class",
        mapn="colouring | graph homomorphism | orientation | labelling | edge weighting | contraction",
        prop="connected | Hamiltonian | regular | triangle-free | bipartite | perfect | Eulerian | "
        "sparse | outerplanar | "
        "vertex-transitive | claw-free | critical",
        inv="chromatic number | girth | treewidth | independence number | diameter | maximum degree | genus | "
        "domination number | crossing number",
        invsym=[
            r"\chi(«A»)",
            r"\alpha(«A»)",
            r"\Delta(«A»)",
            r"\omega(«A»)",
            r"\operatorname{tw}(«A»)",
            r"|E(«A»)|",
            r"\deg(«x»)",
        ],
        A="G | H | T | \\Gamma",
        B="S | M | F | W",
        x="v | u | x",
        y="w | y | z",
        f="c | \\phi | f | \\ell",
        fact=[
            r"«x»«y» \in E(«A»)",
            r"\deg_{«A»}(«x») \geq «num»",
            r"|N(«x») \cap N(«y»)| = «num»",
            r"\chi(«A») \leq \Delta(«A») + 1",
            r"|«B»| \geq \frac{«n»}{«num»}",
            r"«A» - «x» \not\cong K_{«num»,«num»}",
            r"d(«x», «y») \leq «num»",
        ],
        long=[
            r"\sum_{«x» \in V(«A»)} \deg(«x») = 2 |E(«A»)|",
            r"|V(«A»)| - |E(«A»)| + |F(«A»)| = 2",
            r"\Pr\left[ \chi(«A») > «k» \right] \leq \binom{«n»}{«k»} \left( 1 - \frac{1}{«num»} \right)^{«n»}",
            r"\operatorname{ex}(«n», K_{«k»+1}) = \left( 1 - \frac{1}{«k»} + o(1) \right) \frac{«n»^2}{2}",
            r"P(«A», q) = P(«A» - e, q) - P(«A» / e, q)",
            r"\lambda_2(«A») \leq «num» \sqrt{d - 1} + o(1)",
        ],
        result="Hall theorem | Menger theorem | regularity lemma | Ramsey theorem | Kuratowski theorem | "
        "Tur\\'an theorem | "
        "Brooks theorem | local lemma | Euler formula",
        topic="proper colourings | spanning structures | forbidden minors | random walks | matchings | "
        "extremal numbers",
    ),
    field(
        "number theory",
        "math.NT | math.NT math.AG | math.NT math.CO",
        obj="number field | elliptic curve | modular form | Galois representation | Dirichlet series | "
        "quadratic form | "
        "arithmetic progression | L-function | lattice | zeta function | class field | Diophantine equation",
        part="prime | residue class | Hecke operator | unit | cusp | place | eigenform | integral point | zero | "
        "conductor | torsion point | level structure | divisor",
        mapn="character | reduction map | Frobenius | isogeny | norm map | embedding",
        prop="squarefree | ramified | primitive | modular | totally real | semistable | unramified | irrational | "
        "multiplicative | cuspidal | algebraic | coprime",
        inv="class number | discriminant | regulator | rank | height | conductor | analytic conductor | density",
        invsym=[
            r"h(«A»)",
            r"\pi(«x»)",
            r"\zeta_{«A»}(s)",
            r"L(s, \chi)",
            r"\operatorname{ord}_{«p»}(«x»)",
            r"\Lambda(«n»)",
            r"N(«B»)",
        ],
        A="K | F | E | L",
        B="\\mathfrak{p} | \\mathfrak{a} | \\mathcal{O}_K | \\mathfrak{q}",
        x="x | m | a",
        y="y | b | d",
        f="\\chi | \\sigma | \\tau | \\psi",
        p="p | \\ell | q",
        fact=[
            r"«x» \equiv «y» \pmod{«num»}",
            r"«p» \nmid «x»«y»",
            r"\gcd(«x», «y») = «num»",
            r"E(\mathbb{Q})_{\mathrm{tors}} \cong \mathbb{Z}/«num»\mathbb{Z}",
            r"\left( \frac{«x»}{«p»} \right) = -1",
            r"N_{«A»/\mathbb{Q}}(«x») = «num»",
            r"\operatorname{Re}(s) > \frac{1}{«num»}",
        ],
        long=[
            r"\sum_{«n» \leq x} \Lambda(«n») «f»(«n») = O\left( x \exp(-c \sqrt{\log x}) \right)",
            r"L(s, «f») = \prod_{«p»} \left( 1 - \frac{«f»(«p»)}{«p»^{s}} \right)^{-1}",
            r"\zeta(1 - s) = 2 (2\pi)^{-s} \cos\left( \frac{\pi s}{2} \right) \Gamma(s) \zeta(s)",
            r"y^2 = x^3 - «num» x + «num»",
            r"\pi(x; q, a) = \frac{1}{\varphi(q)} \int_2^x \frac{dt}{\log t} + O(x^{1/2 + \varepsilon})",
            r"\Delta(z) = q \prod_{«n»=1}^{\infty} (1 - q^{«n»})^{24} = \sum_{«n» \geq 1} \tau(«n») q^{«n»}",
        ],
        result="quadratic reciprocity | prime number theorem | Chebotarev density theorem | "
        "Minkowski bound | Hasse principle | "
        "Dirichlet unit theorem | large sieve | Hensel lemma | Poisson summation",
        topic="exponential sums | class groups | integral points | zeros near the critical line | congruences | sieves",
    ),
    field(
        "probability and statistics",
        "math.PR | math.PR math.ST | math.ST stat.ML",
        obj="Markov chain | martingale | random walk | branching process | Gaussian process | "
        "point process | estimator | "
        "random matrix | percolation cluster | diffusion | empirical measure | Brownian motion",
        part="stopping time | increment | sample path | marginal | covariance | event | filtration | order statistic | "
        "transition kernel | confidence set | excursion",
        mapn="coupling | likelihood | conditional expectation | projection | test statistic | kernel",
        prop="stationary | ergodic | recurrent | transient | exchangeable | unbiased | consistent | "
        "tight | sub-Gaussian | "
        "infinitely divisible | uniformly integrable | reversible",
        inv="variance | mixing time | entropy | tail probability | moment | risk | hitting time | drift",
        invsym=[
            r"\mathbb{E}[«x»_{«n»}]",
            r"\operatorname{Var}(«x»)",
            r"\mathbb{P}(«x» > t)",
            r"t_{\mathrm{mix}}(\varepsilon)",
            r"\hat{\theta}_{«n»}",
            r"\tau_{«B»}",
        ],
        A="\\mathcal{F}_t | \\mu | \\nu",
        B="A | B | C",
        x="X | Y | W | Z",
        y="S | M | \\xi",
        f="\\phi | h | g | \\pi",
        fact=[
            r"\mathbb{P}(«x» \in «B») \geq 1 - e^{-«num»«n»}",
            r"\mathbb{E}[«x»_{«n»+1} \mid \mathcal{F}_{«n»}] = «x»_{«n»}",
            r"\operatorname{Var}(«x») \leq «num» \sigma^2",
            r"«x»_{«n»} \xrightarrow{d} \mathcal{N}(0, «num»)",
            r"\norm{P^{t}(x, \cdot) - \pi}_{\mathrm{TV}} \leq \frac{1}{«num»}",
            r"\mathbb{E}\abs{«x»}^{«num»} < \infty",
        ],
        long=[
            r"\mathbb{P}\left( \abs{\frac{1}{«n»} \sum_{«i»=1}^{«n»} «x»_{«i»} - \mu} > t \right) "
            r"\leq 2 \exp\left( -\frac{«n» t^2}{«num» \sigma^2} \right)",
            r"\mathbb{E}\left[ e^{\lambda «x»} \right] \leq \exp\left( \frac{\lambda^2 \sigma^2}{2} \right)",
            r"d«x»_t = b(«x»_t) \, dt + \sigma(«x»_t) \, dW_t",
            r"\sqrt{«n»} (\hat{\theta}_{«n»} - \theta) \xrightarrow{d} \mathcal{N}\left( 0, I(\theta)^{-1} \right)",
            r"\pi(x) P(x, y) = \pi(y) P(y, x) \quad \text{for all } x, y",
        ],
        result="central limit theorem | optional stopping theorem | Borel--Cantelli lemma | "
        "ergodic theorem | It\\^o formula | "
        "Markov inequality | law of large numbers | Doob inequality | Slutsky theorem",
        topic="large deviations | concentration | mixing times | limit shapes | invariance principles | minimax rates",
    ),
    field(
        "quantum theory",
        "quant-ph | quant-ph math-ph | quant-ph cs.IT math.IT | math-ph quant-ph",
        obj="qubit | quantum channel | Hilbert space | density matrix | spin chain | entangled state | "
        "stabilizer code | "
        "Hamiltonian | quantum circuit | harmonic oscillator | measurement | cavity | photon pair",
        part="eigenstate | ancilla | ground state | Kraus operator | subsystem | observable | "
        "syndrome | energy level | "
        "logical qubit | basis vector | coherence",
        mapn="unitary | completely positive map | projector | gate | partial trace | time evolution",
        prop="entangled | separable | unital | Hermitian | degenerate | gapped | maximally mixed | fault-tolerant | "
        "adiabatic | coherent | dissipative",
        inv="fidelity | entanglement entropy | gap | concurrence | channel capacity | purity | "
        "circuit depth | code distance",
        invsym=[
            r"S(\rho_{«A»})",
            r"\operatorname{tr}(\rho^2)",
            r"F(\rho, \sigma)",
            r"\langle «f» \rangle",
            r"E_{«n»}",
            r"C(\mathcal{E})",
        ],
        A="A | B | R | \\mathcal{H}",
        B="\\mathcal{K} | E | C | Q",
        x="\\psi | \\phi | \\rho | \\Psi",
        y="\\chi | \\sigma | \\omega | \\eta",
        f="H | U | \\hat{a} | V",
        fact=[
            r"\rho_{«A»} = \operatorname{tr}_{«B»} |\psi\rangle\langle\psi|",
            r"[\hat{x}, \hat{p}] = i\hbar",
            r"«f»|«n»\rangle = E_{«n»}|«n»\rangle",
            r"F(\rho, \sigma) \geq 1 - 10^{-«num»}",
            r"\langle «x» | «f» | «x» \rangle = \frac{\hbar\omega}{«num»}",
            r"S(\rho) \leq \log «num»",
            r"«f»^{\dagger} «f» = \mathbb{1}",
        ],
        long=[
            r"i\hbar \frac{\partial}{\partial t} |«x»(t)\rangle = \hat{H} |«x»(t)\rangle",
            r"\hat{H} = -J \sum_{\langle i,j \rangle} \sigma_i^z \sigma_j^z - h \sum_{i} \sigma_i^x",
            r"\dot{\rho} = -\frac{i}{\hbar}[H, \rho] + \sum_{«k»} \left( L_{«k»} \rho "
            r"L_{«k»}^{\dagger} - \frac{1}{2} \{ L_{«k»}^{\dagger} L_{«k»}, \rho \} \right)",
            r"|\psi\rangle = \frac{1}{\sqrt{«num»}} \left( |00\rangle + e^{i\theta} |11\rangle \right)",
            r"\mathcal{E}(\rho) = \sum_{«i»} K_{«i»} \rho K_{«i»}^{\dagger}, \qquad \sum_{«i»} "
            r"K_{«i»}^{\dagger} K_{«i»} = \mathbb{1}",
            r"\Delta x \, \Delta p \geq \frac{\hbar}{2}",
        ],
        result="no-cloning theorem | Schmidt decomposition | adiabatic theorem | spectral theorem | "
        "Stinespring dilation | "
        "area law | Wigner theorem | strong subadditivity | variational principle",
        topic="entanglement | error correction | decoherence | thermalization | state discrimination | simulation",
    ),
    field(
        "relativity and gravitation",
        "gr-qc | gr-qc hep-th | gr-qc astro-ph.CO | math.DG gr-qc",
        obj="spacetime | black hole | Lorentzian manifold | horizon | cosmological model | gravitational wave | "
        "geodesic congruence | perfect fluid | wormhole | inflaton field | naked singularity | neutron star",
        part="null hypersurface | tetrad | Killing vector | curvature scalar | Cauchy surface | "
        "ergoregion | photon sphere | "
        "trapped surface | light cone | affine parameter | connection",
        mapn="diffeomorphism | conformal transformation | gauge transformation | perturbation | boost | dual",
        prop="globally hyperbolic | stationary | asymptotically flat | vacuum | spherically symmetric | isotropic | "
        "extremal | geodesically complete | static | axisymmetric | conformally flat",
        inv="surface gravity | ADM mass | redshift | angular momentum | Hawking temperature | expansion rate | entropy",
        invsym=[
            r"R_{\mu\nu\rho\sigma} R^{\mu\nu\rho\sigma}",
            r"T_{\mathrm{H}}",
            r"M_{\mathrm{ADM}}",
            r"\kappa",
            r"H(t)",
            r"r_{+}",
        ],
        A="M | \\mathcal{M} | \\Sigma",
        B="\\mathcal{H} | \\mathcal{S} | \\mathscr{I}^{+}",
        x="r | t | \\tau",
        y="\\phi | \\theta | \\lambda",
        f="\\xi | h | \\omega",
        fact=[
            r"R_{\mu\nu} = 0",
            r"T^{\mu\nu}{}_{;\nu} = 0",
            r"g_{tt} = -\left( 1 - \frac{«num» M}{r} \right)",
            r"\nabla_{(\mu} \xi_{\nu)} = 0",
            r"r_{+} = M + \sqrt{M^2 - a^2}",
            r"\rho + «num» p \geq 0",
            r"a(t) \propto t^{2/«num»}",
        ],
        long=[
            r"R_{\mu\nu} - \frac{1}{2} R \, g_{\mu\nu} + \Lambda g_{\mu\nu} = 8\pi G \, T_{\mu\nu}",
            r"ds^2 = -f(r) \, dt^2 + \frac{dr^2}{f(r)} + r^2 \left( d\theta^2 + \sin^2\theta \, d\phi^2 \right)",
            r"\left( \frac{\dot{a}}{a} \right)^2 = \frac{8\pi G}{3} \rho - \frac{k}{a^2} + \frac{\Lambda}{3}",
            r"\Gamma^{\lambda}_{\mu\nu} = \frac{1}{2} g^{\lambda\sigma} \left( \partial_\mu "
            r"g_{\nu\sigma} + \partial_\nu g_{\mu\sigma} - \partial_\sigma g_{\mu\nu} \right)",
            r"S = \frac{1}{16\pi G} \int d^4x \, \sqrt{-g} \left( R - 2\Lambda \right) + S_{\mathrm{matter}}",
            r"\frac{d\theta}{d\lambda} = -\frac{1}{2} \theta^2 - \sigma_{ab}\sigma^{ab} - R_{ab} k^a k^b",
        ],
        result="Birkhoff theorem | Raychaudhuri equation | singularity theorems | Bianchi identity | "
        "positive mass theorem | "
        "no-hair theorem | first law of black hole mechanics | Gauss--Codazzi equations",
        topic="quasinormal modes | gravitational collapse | cosmological perturbations | Hawking radiation | lensing",
    ),
    field(
        "quantum field theory",
        "hep-th | hep-ph | hep-lat hep-th | hep-th math-ph | hep-ph hep-ex",
        obj="gauge theory | scalar field | Yang--Mills theory | effective action | string background | "
        "Higgs boson | brane | "
        "conformal field theory | lattice model | sigma model | dark matter candidate | scattering amplitude",
        part="propagator | vertex | counterterm | loop diagram | operator insertion | fermion | gluon | instanton | "
        "Wilson loop | neutrino | coupling | multiplet",
        mapn="renormalization group flow | duality | BRST transformation | compactification | "
        "Wick rotation | expansion",
        prop="renormalizable | supersymmetric | chiral | anomalous | massless | Abelian | unitary | "
        "asymptotically free | "
        "holographic | perturbative | gauge invariant",
        inv="beta function | cross section | anomalous dimension | mass gap | central charge | branching ratio | "
        "decay width | string tension",
        invsym=[
            r"\beta(g)",
            r"\sigma(e^+ e^- \to \mu^+ \mu^-)",
            r"\gamma_{\mathcal{O}}",
            r"m_{H}",
            r"\langle \mathcal{O}(x) \mathcal{O}(0) \rangle",
            r"\alpha_s(Q^2)",
        ],
        A="\\mathcal{L} | \\mathcal{M} | S",
        B="\\Gamma | \\mathcal{O} | D",
        x="\\phi | \\psi | A_\\mu",
        y="\\chi | \\bar{\\psi} | F_{\\mu\\nu}",
        f="\\Gamma | Z | \\Sigma",
        fact=[
            r"\beta(g) = -\frac{«num» g^3}{16\pi^2} + O(g^5)",
            r"m_{H} \approx 12«num»\,\mathrm{GeV}",
            r"\langle \phi \rangle = v / \sqrt{2}",
            r"D_\mu = \partial_\mu - i g A_\mu^a T^a",
            r"\{ \gamma^\mu, \gamma^\nu \} = 2\eta^{\mu\nu}",
            r"\Delta_{\mathcal{O}} = d - «num»",
            r"N_f < «num» N_c",
        ],
        long=[
            r"\mathcal{L} = -\frac{1}{4} F_{\mu\nu}^a F^{a\mu\nu} + \bar{\psi} (i \gamma^\mu D_\mu - m) \psi",
            r"\int \frac{d^d k}{(2\pi)^d} \frac{1}{(k^2 - m^2)^{«num»}} = \frac{i "
            r"(-1)^{«num»}}{(4\pi)^{d/2}} \frac{\Gamma(«num» - d/2)}{\Gamma(«num»)} m^{d - «num»}",
            r"\mu \frac{d g}{d\mu} = \beta(g) = -\frac{g^3}{16\pi^2} \left( \frac{11}{3} N_c - \frac{2}{3} N_f \right)",
            r"Z[J] = \int \mathcal{D}\phi \, \exp\left( i S[\phi] + i \int d^4x \, J \phi \right)",
            r"\langle \mathcal{O}(x) \mathcal{O}(0) \rangle = \frac{C_{\mathcal{O}}}{\abs{x}^{2\Delta}}",
            r"\mathcal{A}(s, t) = \frac{\Gamma(-\alpha(s)) \Gamma(-\alpha(t))}{\Gamma(-\alpha(s) - \alpha(t))}",
        ],
        result="Ward identity | Goldstone theorem | optical theorem | Noether theorem | Coleman--Mandula theorem | "
        "operator product expansion | spin-statistics theorem | Callan--Symanzik equation",
        topic="confinement | symmetry breaking | resummation | boundary conditions | anomalies | flavour mixing",
    ),
    field(
        "machine learning",
        "cs.LG | cs.LG stat.ML | stat.ML cs.LG | cs.CL cs.LG | cs.CV",
        obj="neural network | classifier | transformer | kernel machine | generative model | convex program | policy | "
        "language model | autoencoder | decision tree | bandit problem | recommender | graph neural network",
        part="layer | gradient | mini-batch | hidden unit | attention head | training example | "
        "loss function | token | "
        "hyperparameter | latent variable | regularizer | embedding | label",
        mapn="encoder | activation | feature map | update rule | augmentation | stochastic gradient step",
        prop="convex | smooth | overparameterized | calibrated | identifiable | robust | "
        "differentiable | sample-efficient | "
        "strongly convex | interpretable | well-conditioned | equivariant",
        inv="generalization error | sample complexity | accuracy | perplexity | regret | learning rate | margin | "
        "training loss | Rademacher complexity",
        invsym=[
            r"\mathcal{L}(«x»)",
            r"\hat{R}_{«n»}(«f»)",
            r"\mathrm{KL}(p \,\|\, q)",
            r"\norm{\nabla \mathcal{L}(«x»_t)}",
            r"\mathrm{Regret}(T)",
            r"\eta_t",
        ],
        A="\\mathcal{H} | \\mathcal{D} | \\mathcal{X}",
        B="\\mathcal{B} | \\mathcal{S} | \\mathcal{Y}",
        x="\\theta | w | W",
        y="\\phi | b | \\beta",
        f="f | h | g",
        fact=[
            r"\norm{«x»_{t+1} - «x»^{*}} \leq \left( 1 - \frac{1}{«num»} \right) \norm{«x»_t - «x»^{*}}",
            r"\eta_t = \frac{«num»}{\sqrt{t}}",
            r"\mathcal{L}(«x») \geq \mathcal{L}(«x»^{*})",
            r"«n» = O\left( \frac{d}{\varepsilon^2} \right)",
            r"«f»_{«x»} \colon \mathbb{R}^{d} \to \mathbb{R}^{«num»}",
            r"\mathbb{E}[\norm{g_t}^2] \leq «num» G^2",
        ],
        long=[
            r"\min_{«x» \in \mathbb{R}^d} \frac{1}{«n»} \sum_{«i»=1}^{«n»} \ell(«f»_{«x»}(x_{«i»}), "
            r"y_{«i»}) + \lambda \norm{«x»}_2^2",
            r"«x»_{t+1} = «x»_t - \eta_t \nabla \mathcal{L}(«x»_t)",
            r"\operatorname{softmax}(z)_{«i»} = \frac{e^{z_{«i»}}}{\sum_{j=1}^{«k»} e^{z_j}}",
            r"\mathrm{Attention}(Q, K, V) = \operatorname{softmax}\left( \frac{Q K^{\top}}{\sqrt{d_k}} \right) V",
            r"\log p(x) \geq \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z))",
            r"R(«f») \leq \hat{R}_{«n»}(«f») + 2 \mathfrak{R}_{«n»}(\mathcal{H}) + \sqrt{\frac{\log(1/\delta)}{2«n»}}",
        ],
        result="representer theorem | universal approximation theorem | bias--variance decomposition | "
        "no-free-lunch theorem | "
        "mirror descent analysis | policy gradient theorem | Johnson--Lindenstrauss lemma | Robbins--Monro scheme",
        topic="generalization | self-supervised learning | optimization | distribution shift | pruning | fine-tuning",
    ),
]

# The plain mathematics and the English that every field shares.
COMMON: Rules = {
    "num": words(
        "2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 12 | 15 | 16 | 18 | 21 | 24 | 30 | 36 | 48 | 64 | 100 | 120 | 256"
    ),
    "p": words("p | 2 | q"),
    "fn": words(r"\log | \exp | \sin | \cos | \det | \max | \min | \dim | \deg | \ker | \tanh | \arg | \inf | \sup"),
    "rel": words(r"= | \leq | \geq | < | > | \ll | \sim | \asymp | \approx | \equiv"),
    "greek": words(r"\alpha | \beta | \gamma | \delta | \lambda | \mu | \nu | \kappa | \varepsilon | \zeta | \omega"),
    "atom": ["«n»", "«k»", "«c»", "«greek»", "«greek»_{«i»}", "a_{«i»}", "b_{«n»}", "«num»", "t", "s"],
    "power": ["2", "«num»", "«n»", "-1", "«n»-1", "1/2", "«k»+1", "-«greek»"],
    "bottom": ["1", "0", "«k»"],
    "top": ["«n»", "\\infty", "«k»-1", "2«n»"],
    "expr": [
        "«atom»",
        "«atom» + «atom»",
        "«atom» - «expr»",
        r"«num» «atom»^{«power»}",
        r"\frac{«expr»}{«atom»}",
        r"\frac{«atom»}{«num» + «atom»}",
        r"\left( «expr» \right)^{«power»}",
        r"\sqrt{«expr»}",
        r"\sum_{«i»=«bottom»}^{«top»} «atom»^{«power»}",
        r"\prod_{«i»=1}^{«n»} \left( 1 + «atom» \right)",
        r"\int_{0}^{«top»} e^{-«atom» s} \, ds",
        r"«fn»(«expr»)",
        r"\binom{«n»}{«k»} «atom»",
        r"«invsym»",
        r"\abs{«expr»}",
        r"O(«n»^{«power»})",
    ],
    "inline": ["$«fact»$", "$«fact»$", "$«invsym» «rel» «expr»$", "$«expr» «rel» «expr»$", "$«invsym» «rel» «num»$"],
    "norm": [r"\norm{«expr»}"],
    "cong": words(
        "admissible | exact | stable | canonical | minimal | generic | universal | primitive | "
        "elementary | symmetric | "
        "positive | discrete | bounded | natural | effective | invariant | homogeneous | abstract | "
        "complete | generalized"
    ),
    "prefix": words(
        "quasi- | semi | pseudo | sub | non | almost | weakly | strongly | locally | co | hyper | ultra | para"
    ),
    "stem": words(
        "regular | normal | finite | compact | linear | local | central | convex | harmonic | rigid "
        "| stable | symmetric | "
        "modular | generic | positive | separable | metric | graded | free | cyclic | exact | additive"
    ),
    "adverb": words(
        "uniformly | explicitly | canonically | effectively | asymptotically | generically | essentially | precisely | "
        "immediately | simultaneously | independently | sufficiently | conversely | inductively"
    ),
    "strong": words(
        "sharp | optimal | quantitative | effective | uniform | explicit | refined | elementary | complete"
    ),
    "prove": words("prove | show | establish | verify | demonstrate | deduce | obtain | derive"),
    "study": words("study | investigate | consider | examine | analyse | describe | classify | characterize | revisit"),
    "extend": words(
        "extends | generalizes | strengthens | sharpens | complements | simplifies | unifies | recovers | refutes"
    ),
    "so": words("Hence | Therefore | Consequently | Thus | It follows that | We conclude that | In particular,"),
    "also": words(
        "Moreover, | Furthermore, | In addition, | Similarly, | On the other hand, | By contrast, | Note that"
    ),
    "because": words("because | since | as"),
    "noun": words(
        "bound | estimate | identity | criterion | construction | classification | inequality | "
        "formula | characterization | "
        "decomposition | algorithm | correspondence | argument | description | example | obstruction"
    ),
    "why": words(
        "the hypotheses are preserved under passing to limits | no such choice exists in general | "
        "the terms of odd degree "
        "cancel | each summand is nonnegative | the sequence eventually becomes constant | both "
        "sides depend only on the "
        "isomorphism type | only finitely many exceptions remain | the difference is of lower order "
        "| our assumption is "
        "invariant under rescaling | every remaining case reduces to the previous one | the error "
        "term is absorbed on the left"
    ),
}
