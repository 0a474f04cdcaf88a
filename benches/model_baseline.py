#!/usr/bin/env python3
"""scikit-learn on the rows that `headwater model train models/spending/train.toml` is judged on.

Usage: model_baseline.py FILE.tsv.gz...     (the files that --data was given, in the same order)

Needs scikit-learn and pandas. Text = the merchant alone, normalized as the product does for ASCII. The splits are those of
src/model/splits.rs: random (SHA-256 of "random:<row number>", first byte below 51), time (2020 and later), merchant (SHA-256
of "ml-dev-1:" + the merchant's first ten letters divisible by 5, at most 2,000 rows). Features: tf-idf of character 2-5-grams
within words and of words and word pairs; learned from distinct (text, label) pairs weighted by the root of their count.
Prints accuracy, macro-F1, fit and predict times of a linear SVM and, with --logistic, of logistic regression with its ECE.
"""
import hashlib
import re
import sys
import time

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

FACILITATOR = re.compile(r"^(SQ|PAYPAL|PP|TST|SP|PY|IN|EB|GOOGLE|FS|ZSK|CKE|BT|DNH|UBR) *\*|^SQ (SQ )?|^PAYPAL |^EB ")


def normal(text):
    text = re.sub(r"[^A-Z0-9&'.*#]+", " ", text.upper())
    return re.sub("[0-9]+", "0", text).strip()


def key(text):
    return re.sub("[^A-Z]+", "", FACILITATOR.sub("", text))[:10] or "EMPTY"


def divisible(text, by):
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % by == 0


def splits(rows):
    first_byte = [hashlib.sha256(f"random:{i}".encode()).digest()[0] for i in range(len(rows))]
    yield "random", np.array(first_byte) < 51
    yield "time", (rows.file_month >= "2020-01").values
    counts = rows.key.value_counts()
    out = {k for k, n in counts.items() if n <= 2000 and divisible("ml-dev-1:" + k, 5)}
    yield "merchant", rows.key.isin(out).values


def ece(confidence, right, bins=15):
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(abs((confidence - right)[place == b].sum()) for b in range(bins)) / len(right)


def judge(name, train, test, models):
    distinct = train.groupby(["text", "category"]).size().reset_index(name="n")
    vectors = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True, lowercase=False),
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True, lowercase=False),
    )
    x = vectors.fit_transform(distinct.text)
    for label, model in models:
        begun = time.process_time()
        model.fit(x, distinct.category, sample_weight=np.sqrt(distinct.n))
        fitted = time.process_time()
        texts = test.text.unique()
        z = vectors.transform(texts)
        answers = dict(zip(texts, model.predict(z)))
        predicted = time.process_time()
        got = test.text.map(answers)
        f1 = f1_score(test.category, got, average="macro", labels=sorted(test.category.unique()), zero_division=0)
        line = f"{name:9} {label:9} train {len(train)} test {len(test)} accuracy {accuracy_score(test.category, got):.4f} macro-F1 {f1:.4f}"
        if hasattr(model, "predict_proba"):
            sure = dict(zip(texts, model.predict_proba(z).max(axis=1)))
            line += f" ECE {ece(test.text.map(sure).values, (got == test.category).values):.4f}"
        print(f"{line} fit {fitted - begun:.0f} CPU-s, {len(texts) / (predicted - fitted):.0f} distinct texts per CPU-second", flush=True)


def main():
    files = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    read = lambda file: pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, quoting=3, escapechar="\\")
    rows = pd.concat([read(file) for file in files], ignore_index=True)
    rows = rows[rows.category != "uncategorized"].reset_index(drop=True)
    rows["text"] = rows.merchant.map(normal)
    rows["key"] = rows.text.map(key)
    for name, out in splits(rows):
        models = [("LinearSVC", LinearSVC(C=0.5, max_iter=1500))]
        if "--logistic" in sys.argv:
            models.append(("LogReg", LogisticRegression(C=30, max_iter=150, tol=1e-3)))
        judge(name, rows[~out], rows[out], models)


if __name__ == "__main__":
    main()
