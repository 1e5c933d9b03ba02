"""`python -m benchmark`"""

if __name__ == "__main__":
    # Here, because the processes that train import this file as well and need no command line.
    from benchmark.cli import main

    main()
