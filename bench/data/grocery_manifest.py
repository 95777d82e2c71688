"""Unpacks the Grocery Store Dataset (Klasson et al. 2019, 64-pixel copy) and writes a manifest of its zero-shot split.

    python3 bench/data/grocery_manifest.py grocery-64.zip OUT_FOLDER

All images of products 0 to 40 become split "train", all of products 41 to 80 split "test": no test class is seen in
training. Then: nearkin train --data OUT_FOLDER/grocery.csv#train …
"""

import csv
import sys
import zipfile
from pathlib import Path

LAST_TRAINING_CLASS = 40

archive, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(archive) as files:
    files.extractall(out)
names = {}
with open(out / "classes.csv", newline="") as table:
    for row in csv.DictReader(table):
        names[int(row["Class ID (int)"])] = row["Class Name (str)"]
with open(out / "grocery.csv", "w", newline="") as manifest:
    writer = csv.writer(manifest)
    writer.writerow(["path", "label", "split"])
    for listing in ["train.txt", "val.txt", "test.txt"]:
        for line in (out / listing).read_text().splitlines():
            path, product, _category = (field.strip() for field in line.split(","))
            split = "train" if int(product) <= LAST_TRAINING_CLASS else "test"
            writer.writerow([path, names[int(product)], split])
