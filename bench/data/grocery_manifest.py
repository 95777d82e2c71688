"""Unpacks the Grocery Store Dataset (Klasson et al. 2019, 64-pixel copy) and writes a manifest of all its photos.

    python3 bench/data/grocery_manifest.py grocery-64.zip OUT_FOLDER

Classes are called by the product's number and name, "03 Red-Delicious", so that nearkin numbers them as the data set does,
and `split = { classes = "0-40" }` in a recipe leaves products 41 to 80 unseen. Then: nearkin train --data OUT_FOLDER/grocery.csv …
"""

import csv
import sys
import zipfile
from pathlib import Path

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
    writer.writerow(["path", "label"])
    for listing in ["train.txt", "val.txt", "test.txt"]:
        for line in (out / listing).read_text().splitlines():
            path, product, _category = (field.strip() for field in line.split(","))
            writer.writerow([path, f"{int(product):02} {names[int(product)]}"])
