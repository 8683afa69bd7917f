#!/bin/bash
# What a run of `cascade bench KIND` measured of the kind's variants, as tables in Markdown: for each measure a line
# for each number and variant, for each size its median, and below it its ratio to the baseline with the 95 %
# interval.
#
# usage: scripts/component-tables.sh KIND [RUN]     RUN: a run's directory, default results/reference/bench-KIND
#        scripts/component-tables.sh --update       puts those of all kinds that have such a run between the two
#          marker comments of docs/components/KIND.md (PAGES=FOLDER: of other pages, RUNS=FOLDER: of other runs)
set -euo pipefail
cd "$(dirname "$0")/.."
pages=${PAGES:-docs/components}
runs=${RUNS:-results/reference}

fail() {
  echo "component-tables: $*" >&2
  exit 2
}

# The member of provenance.json with that name, as it stands there.
provenance() {
  sed -n "s/^ *\"$1\": *//p" "$2/provenance.json" | sed 's/,$//; s/^"//; s/"$//' | head -1
}

# claims.json has one value a line; an object of the array `values` is what lies between two braces.
table() {
  local run=$1
  [ -f "$run/claims.json" ] || fail "$run/claims.json is not there (cascade bench)"
  awk '
    function unquoted(text) {
      sub(/,$/, "", text)
      if (text == "null") return "" # which the variant "null" is not
      return text ~ /^"/ ? substr(text, 2, length(text) - 2) : text
    }
    function rounded(number,   digits) {
      digits = number >= 99.95 || number == 0 ? 0 : number >= 9.995 ? 1 : number >= 0.9995 ? 2 : 3
      return number != 0 && number < 0.1 ? sprintf("%.2g", number) : sprintf("%.*f", digits, number)
    }
    function scaled(number, step, names,   name, i) {
      split(names, name, " ")
      for (i = 1; i in name && number >= 0.9995 * step && (i + 1) in name; i++) number /= step
      return rounded(number) " " name[i]
    }
    function amount(number, unit) {
      if (number == "") return "-"
      number += 0
      if (unit == "ns") return scaled(number, 1000, "ns us ms s")
      if (unit == "B") return number < 1024 ? rounded(number) " B" : scaled(number / 1024, 1024, "KiB MiB GiB TiB")
      if (unit == "B/s") return scaled(number / 1024, 1024, "KiB/s MiB/s GiB/s")
      if (unit == "1/s") return number < 1000 ? rounded(number) " /s" : scaled(number / 1000, 1000, "k/s M/s G/s")
      return rounded(number)
    }
    function count_of(number) {
      return number == "" ? "median" : (number % 1000000 == 0) ? number / 1000000 " M" \
        : number % 1000 == 0 ? number / 1000 " k" : number
    }
    function cell(key,   text) {
      if (!(key in median)) return " |"
      text = amount(median[key], unit[key])
      if (ratio[key] != "") text = text "<br>" sprintf("%.2f", ratio[key])
      if (low[key] != "" && high[key] != "") text = text sprintf(" [%.2f .. %.2f]", low[key], high[key])
      return " " text " |"
    }
    function keep(   sheet, key) {
      sheet = value["measure"] SUBSEP value["side"]
      if (!(sheet in sheet_seen)) {
        sheet_seen[sheet] = 1
        sheets[++sheet_count] = sheet
        title[sheet] = value["measure"]
      }
      if (!((value["measure"], value["side"]) in side_seen)) {
        side_seen[value["measure"], value["side"]] = 1
        sides[value["measure"]]++
        side_name[sheet] = value["side"]
      }
      if (!((sheet, value["size"]) in size_seen)) {
        size_seen[sheet, value["size"]] = 1
        sizes[sheet, ++size_count[sheet]] = value["size"]
      }
      if (!((sheet, value["number"]) in number_seen)) {
        number_seen[sheet, value["number"]] = 1
        numbers[sheet, ++number_count[sheet]] = value["number"]
      }
      if (!(value["variant"] in variant_seen)) {
        variant_seen[value["variant"]] = 1
        variants[++variant_count] = value["variant"]
      }
      key = sheet SUBSEP value["number"] SUBSEP value["variant"] SUBSEP value["size"]
      median[key] = value["median"]
      unit[key] = value["unit"]
      ratio[key] = value["ratio"]
      low[key] = value["low"]
      high[key] = value["high"]
      if (value["ratio"] != "") compared[sheet, value["number"]] = 1
      if (value["ratio"] != "") any_compared[sheet] = 1
    }
    /^  "baseline": / { baseline = unquoted($2) }
    /^  "values": \[/ { inside = 1; next }
    /^  \]/ { inside = 0 }
    !inside { next }
    /^    \{/ { split("", value); part = ""; next }
    /^    \}/ { keep(); next }
    /^      "(ours|reference)": \{/ { part = $1; next }
    /^      \}/ { part = ""; next }
    /^      "interval": \[/ { bounds = 0; part = "interval"; next }
    /^      \]/ { part = ""; next }
    part == "interval" { text = $1; value[(++bounds == 1 ? "low" : "high")] = unquoted(text); next }
    part == "\"ours\":" && /^        "(median|side)": / {
      name = substr($1, 2, length($1) - 3)
      text = $0
      sub(/^ *"[a-z]*": /, "", text)
      value[name] = unquoted(text)
      next
    }
    part == "" && /^      "[a-z]*": / {
      name = substr($1, 2, length($1) - 3)
      text = $0
      sub(/^ *"[a-z]*": /, "", text)
      value[name] = unquoted(text)
    }
    END {
      if (sheet_count == 0) { print "component-tables: claims.json has no values of variants" > "/dev/stderr"; exit 2 }
      for (s = 1; s <= sheet_count; s++) {
        sheet = sheets[s]
        several = (sides[title[sheet]] > 1)
        printf "**%s%s**\n\n| number | variant |", title[sheet], (several ? ", " side_name[sheet] : "")
        rule = "|---|---|"
        for (i = 1; i <= size_count[sheet]; i++) {
          printf " %s |", count_of(sizes[sheet, i])
          rule = rule "--:|"
        }
        printf "\n%s\n", rule
        for (n = 1; n <= number_count[sheet]; n++) {
          number = numbers[sheet, n]
          if (any_compared[sheet] && !compared[sheet, number]) continue
          first = 1
          for (v = 1; v <= variant_count; v++) {
            line = ""
            found = 0
            for (i = 1; i <= size_count[sheet]; i++) {
              key = sheet SUBSEP number SUBSEP variants[v] SUBSEP sizes[sheet, i]
              found = found || key in median
              line = line cell(key)
            }
            if (!found) continue
            printf "| %s | %s |%s\n", (first ? number : ""), variants[v], line
            first = 0
          }
        }
        print ""
      }
      if (baseline != "" && variant_count > 1) printf "Ratios are to `%s`. ", baseline
    }' "$run/claims.json"
  echo "$(provenance cpu_model "$run"), $(provenance cores_online "$run") cores, Linux" \
    "$(provenance kernel "$run"); commit $(provenance commit "$run" | cut -c1-12)."
}

# Puts the tables of a kind into its page.
update() {
  local kind=$1 page=$pages/$1.md written fresh
  local begin="<!-- bench-$kind: begin, written by scripts/component-tables.sh -->" end="<!-- bench-$kind: end -->"
  if [ "$(grep -cxF "$begin" "$page")" != 1 ] || [ "$(grep -cxF "$end" "$page")" != 1 ]; then
    fail "$page has not the two lines $begin and $end"
  fi
  written=$(table "$runs/bench-$kind")
  fresh=$(mktemp)
  WRITTEN=$written awk -v begin="$begin" -v end="$end" '
    $0 == end { inside = 0 }
    !inside { print }
    $0 == begin { inside = 1; print ENVIRON["WRITTEN"] }' "$page" > "$fresh"
  cat "$fresh" > "$page"
  rm -f "$fresh"
  echo "component-tables: $page"
}

case ${1:-} in
  --update)
    for kind in memtable filter cache codec compaction; do
      if [ -f "$runs/bench-$kind/claims.json" ]; then
        update "$kind"
      else
        echo "component-tables: $runs/bench-$kind is not there: docs/components/$kind.md stays as it is" >&2
      fi
    done
    ;;
  memtable | filter | cache | codec | compaction) table "${2:-$runs/bench-$1}" ;;
  *) fail "usage: component-tables.sh KIND [RUN] | --update" ;;
esac
