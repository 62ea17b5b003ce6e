"""Papers in seven languages, made of sentences written for it, with as much mathematics between them as one likes."""

from __future__ import annotations

import random

SENTENCES: dict[str, list[str]] = {
    "fr": [
        "Nous démontrons que toute application continue de {} dans {} est bornée.",
        "Dans cet article, on étudie les propriétés asymptotiques de la suite {}.",
        "Soit {} un espace vectoriel de dimension finie muni de la norme {}.",
        "La démonstration du théorème repose sur une inégalité due à plusieurs auteurs.",
        "Il suffit alors de remarquer que {} ne dépend pas du choix de {}.",
        "Supposons par l'absurde qu'il existe un point {} où la fonction s'annule.",
        "Cette hypothèse est nécessaire, comme le montre l'exemple suivant.",
        "On en déduit immédiatement que la série {} converge uniformément.",
        "Nous renvoyons le lecteur à la section précédente pour les notations.",
        "Les résultats de ce travail généralisent ceux qui étaient déjà connus.",
        "Pour conclure, il reste à vérifier que {} est un sous-groupe de {}.",
        "Ce lemme sera utilisé plusieurs fois dans la suite sans autre mention.",
    ],
    "de": [
        "Wir zeigen, dass jede stetige Abbildung von {} nach {} beschränkt ist.",
        "In dieser Arbeit werden die asymptotischen Eigenschaften der Folge {} untersucht.",
        "Es sei {} ein endlichdimensionaler Vektorraum mit der Norm {}.",
        "Der Beweis des Satzes beruht auf einer bekannten Ungleichung.",
        "Man beachte, dass {} nicht von der Wahl von {} abhängt.",
        "Angenommen, es gäbe einen Punkt {}, an dem die Funktion verschwindet.",
        "Diese Voraussetzung ist notwendig, wie das folgende Beispiel zeigt.",
        "Daraus folgt sofort, dass die Reihe {} gleichmäßig konvergiert.",
        "Für die Bezeichnungen verweisen wir auf den vorigen Abschnitt.",
        "Die Ergebnisse dieser Arbeit verallgemeinern frühere Aussagen.",
        "Es bleibt noch zu prüfen, ob {} eine Untergruppe von {} ist.",
        "Dieses Lemma wird im Folgenden mehrfach ohne weitere Erwähnung benutzt.",
    ],
    "es": [
        "Demostramos que toda aplicación continua de {} en {} está acotada.",
        "En este trabajo se estudian las propiedades asintóticas de la sucesión {}.",
        "Sea {} un espacio vectorial de dimensión finita con la norma {}.",
        "La demostración del teorema se basa en una desigualdad conocida.",
        "Basta entonces observar que {} no depende de la elección de {}.",
        "Supongamos que existe un punto {} en el que la función se anula.",
        "Esta hipótesis es necesaria, como muestra el ejemplo siguiente.",
        "De aquí se deduce inmediatamente que la serie {} converge uniformemente.",
        "Remitimos al lector a la sección anterior para la notación.",
        "Los resultados de este artículo generalizan los que ya se conocían.",
        "Para terminar, queda por comprobar que {} es un subgrupo de {}.",
        "Este lema se utilizará varias veces a lo largo del texto.",
    ],
    "pt": [
        "Mostramos que toda aplicação contínua de {} em {} é limitada.",
        "Neste trabalho estudamos as propriedades assintóticas da sequência {}.",
        "Seja {} um espaço vetorial de dimensão finita com a norma {}.",
        "A demonstração do teorema baseia-se numa desigualdade conhecida.",
        "Basta então observar que {} não depende da escolha de {}.",
        "Suponhamos que existe um ponto {} no qual a função se anula.",
        "Esta hipótese é necessária, como mostra o exemplo seguinte.",
        "Daqui se deduz imediatamente que a série {} converge uniformemente.",
        "Remetemos o leitor à seção anterior para as notações.",
        "Os resultados deste artigo generalizam aqueles que já eram conhecidos.",
        "Para concluir, falta verificar que {} é um subgrupo de {}.",
        "Este lema será utilizado várias vezes sem outra menção.",
    ],
    "ru": [
        "Мы докажем, что всякое непрерывное отображение из {} в {} ограничено.",
        "В этой работе изучаются асимптотические свойства последовательности {}.",
        "Пусть {} есть конечномерное векторное пространство с нормой {}.",
        "Доказательство теоремы основано на известном неравенстве.",
        "Достаточно заметить, что {} не зависит от выбора {}.",
        "Предположим, что существует точка {}, в которой функция обращается в нуль.",
        "Это условие необходимо, как показывает следующий пример.",
        "Отсюда сразу следует, что ряд {} сходится равномерно.",
        "Обозначения читатель найдёт в предыдущем разделе.",
        "Результаты этой статьи обобщают те, которые были известны ранее.",
        "Остаётся проверить, что {} является подгруппой в {}.",
        "Эта лемма будет использована несколько раз без ссылки.",
    ],
    "zh": [
        "我们证明从{}到{}的每个连续映射都是有界的。",
        "本文研究数列{}的渐近性质及其应用。",
        "设{}是带有范数{}的有限维向量空间。",
        "定理的证明依赖于一个众所周知的不等式。",
        "只需注意到{}与{}的选取无关。",
        "假设存在一点{}使得该函数在此处为零。",
        "这个条件是必要的，下面的例子说明了这一点。",
        "由此立即得到级数{}一致收敛。",
        "有关记号，请读者参阅上一节的内容。",
        "本文的结果推广了以前已知的结论。",
        "最后还需要验证{}是{}的子群。",
        "这个引理在后文中将被多次使用。",
    ],
    "it": [
        "Dimostriamo che ogni applicazione continua da {} in {} è limitata.",
        "In questo lavoro si studiano le proprietà asintotiche della successione {}.",
        "Sia {} uno spazio vettoriale di dimensione finita con la norma {}.",
        "La dimostrazione del teorema si basa su una disuguaglianza ben nota.",
        "Basta allora osservare che {} non dipende dalla scelta di {}.",
        "Supponiamo che esista un punto {} nel quale la funzione si annulla.",
        "Questa ipotesi è necessaria, come mostra l'esempio seguente.",
        "Ne segue subito che la serie {} converge uniformemente.",
        "Per le notazioni rimandiamo il lettore alla sezione precedente.",
        "I risultati di questo articolo generalizzano quelli già conosciuti.",
        "Resta da verificare che {} è un sottogruppo di {}.",
        "Questo lemma sarà utilizzato più volte nel seguito.",
    ],
}
SYMBOLS = ["$X$", "$\\mathbb{R}^n$", "$f(x)$", "$\\sum_{k} a_k$", "$\\|\\cdot\\|_p$", "$x_0 \\in \\Omega$", "$G/H$"]
DISPLAYS = [
    "\\begin{equation}\\int_0^1 f(t)\\,dt \\leq \\sum_{i=1}^n \\frac{x_i^2}{1 + \\alpha_i}\\end{equation}",
    "\\[ \\lim_{n \\to \\infty} \\sup_{x \\in K} |f_n(x) - f(x)| = 0 \\]",
    "\\begin{align}\\partial_t u &= \\Delta u + F(u),\\\\ u(0) &= u_0\\end{align}",
]
ENGLISH_ABSTRACT = (
    "\\begin{abstract}\nWe prove that the spaces in question are complete, and that this is the best that one can hope "
    "for in general. The method of the proof is of interest in itself.\n\\end{abstract}"
)


def foreign_paper(language: str, seed: int, sentences: int = 60, displays: float = 0.3, english: bool = False) -> str:
    """A cleaned paper: `displays` displayed formulas for each sentence, an English abstract where `english`."""
    choose = random.Random(f"{language} {seed}")
    lines = [ENGLISH_ABSTRACT] if english else []
    for _ in range(sentences):
        sentence = choose.choice(SENTENCES[language])
        line = sentence.format(*(choose.choice(SYMBOLS) for _ in range(sentence.count("{}"))))
        lines += [line, *(choose.choice(DISPLAYS) for _ in range(int(displays + choose.random())))]
    return "\n\n".join(lines)
